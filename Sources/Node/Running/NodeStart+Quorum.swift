import LTX
import Lease
import NIOPosix
import Replication
import Store
import Synchronization

extension NodeStart {
  /// A node among voters begins as a replica; the election then says who is the primary.
  static func quorum(
    _ parts: NodeParts,
    _ quorum: QuorumConfiguration,
    last: Term
  ) throws -> NodeStart {
    guard let security = parts.security else {
      throw StoreError(
        .invalid,
        "lease.type: quorum needs replication.tls with ca, cert and key; make them with `halite cert`"
      )
    }
    let (store, cluster) = (parts.store, parts.cluster)
    if parts.configuration.replication.sync == .quorum {
      try store.requireMajority(of: Set(quorum.voters.keys), own: parts.name)
    }
    let engine = try ReplicaEngine(store: store)
    try store.becomeReplica()
    try engine.holdUndecided()
    let roles = RoleKeeper(.replica(nil, engine))
    let network = voters(parts, quorum, security)
    let (requests, continuation) = AsyncStream<String>.makeStream(
      bufferingPolicy: .bufferingNewest(1)
    )
    let lease = try lease(parts, quorum, network) { continuation.yield($0) }
    // A commit asks the lease itself, and does not wait until its loss has been noticed.
    store.log.setLease { lease.state.mayCommit(at: LeaseClock.system.now, margin: .zero) }
    var configuration = ReplicationServer.Configuration(
      address: NetworkAddress(parts.configuration.replication.address),
      security: security,
      nodeName: parts.name
    ) { cluster.given }
    configuration.isConfirmed = { cluster.cluster != nil }
    configuration.peers = PeerAcceptance(names: Set(quorum.voters.keys).subtracting([parts.name])) {
      lease.receive($0, from: $1)
    }
    configuration.primary = { lease.state.holder?.address }
    return NodeStart(
      lease: lease,
      roles: roles,
      server: parts.server(configuration, term: { roles.term }),
      voters: network,
      requests: requests
    )
  }

  private static func voters(
    _ parts: NodeParts,
    _ quorum: QuorumConfiguration,
    _ security: Replication.TransportSecurity
  ) -> PeerNetwork {
    let cluster = parts.cluster
    // A node that does not vote has nothing to say to those that do.
    let peers = quorum.isVoter(parts.name) ? quorum.voters.filter { $0.key != parts.name } : [:]
    return PeerNetwork(
      configuration: .init(
        peers: peers.mapValues(NetworkAddress.init),
        security: security,
        nodeName: parts.name
      ) {
        cluster.cluster
      },
      metrics: parts.metrics,
      logger: parts.logger,
      group: MultiThreadedEventLoopGroup.singleton
    )
  }

  private static func lease(
    _ parts: NodeParts,
    _ quorum: QuorumConfiguration,
    _ network: PeerNetwork,
    onRequest: @escaping @Sendable (String) -> Void
  ) throws -> QuorumLease {
    let (store, cluster) = (parts.store, parts.cluster)
    return try QuorumLease(
      .init(
        election: .init(
          name: parts.name,
          voters: Set(quorum.voters.keys),
          ttl: quorum.ttl,
          priority: Int64(quorum.priority),
          isCandidate: quorum.isCandidate
        ),
        addresses: quorum.voters.mapValues(\.description)
      ),
      transport: VoterMail(network),
      storage: VoteFile(
        directory: parts.configuration.data.directory,
        disk: SystemDisk(),
        least: { max(store.log.last.term, cluster.term) }
      ),
      log: ElectionView(store.log),
      seed: UInt64.random(in: 0...UInt64.max),
      onRequest: onRequest
    )
  }
}

/// Messages of the election over the links between voters.
private struct VoterMail: ElectionTransport {
  let network: PeerNetwork
  init(_ network: PeerNetwork) { self.network = network }
  func send(_ bytes: [UInt8], to voter: String) { network.send(bytes, to: voter) }
}
