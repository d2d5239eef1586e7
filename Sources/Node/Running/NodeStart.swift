import LTX
import Lease
import Logging
import NIOPosix
import Replication
import Store

/// What a node's links to others are made from.
struct NodeParts: Sendable {
  var configuration: Configuration
  var store: Store
  var cluster: ClusterFile
  var security: Replication.TransportSecurity?
  var pool: NIOThreadPool
  var metrics: ReplicationMetrics
  var logger: Logger

  var name: String { configuration.lease.hostname }

  /// Before the second attempt to reach a primary that was elected.
  private static let electedBackoff = Duration.milliseconds(8)

  /// A client that follows the primary at an address.
  ///
  /// - Parameter node: its name, where that is known.
  func client(
    of primary: SocketAddressText,
    named node: String? = nil,
    _ engine: ReplicaEngine
  ) throws -> ReplicationClient {
    guard let security else {
      throw StoreError(
        .invalid,
        "a replica needs lease.primary, and replication.tls with ca, cert and key; make them with "
          + "`halite cert`"
      )
    }
    var configuration = ReplicationClient.Configuration(
      primary: NetworkAddress(primary),
      expectedName: node,
      security: security,
      nodeName: name
    )
    // One that has just been elected accepts replicas a moment later, and cannot take writes without them.
    if node != nil { configuration.backoff.shortest = Self.electedBackoff }
    return ReplicationClient(
      configuration: configuration,
      sink: engine,
      record: cluster,
      metrics: metrics,
      logger: logger,
      group: MultiThreadedEventLoopGroup.singleton
    )
  }

  func server(
    _ configuration: ReplicationServer.Configuration,
    term: @escaping @Sendable () -> Term?
  ) -> ReplicationServer {
    var configuration = configuration
    if !self.configuration.data.compress { configuration.features.remove(.packedEntries) }
    return ReplicationServer(
      configuration: configuration,
      source: store,
      term: term,
      metrics: metrics,
      logger: logger,
      group: MultiThreadedEventLoopGroup.singleton,
      pool: pool
    )
  }

}

/// How a node begins: its lease, and what it is before the lease says more.
struct NodeStart {
  var lease: any Lease
  var roles: RoleKeeper
  var server: ReplicationServer?
  var voters: PeerNetwork?
  /// The voters that want the lease.
  var requests: AsyncStream<String>?

  /// Blocks: the store takes its role.
  static func make(_ parts: NodeParts) throws -> NodeStart {
    let last = max(parts.store.log.last.term, parts.cluster.term)
    let next = LeaseTerm(last.rawValue + 1)
    let own = parts.configuration.replication.advertise.description
    switch parts.configuration.lease.kind {
    case .single:
      return try primary(parts, StaticLease(soleNode: parts.name, address: own, term: next))
    case .fixed(let primary, let isPrimary):
      let lease = StaticLease(
        name: parts.name,
        advertise: isPrimary ? primary.description : own,
        primary: primary.description,
        term: isPrimary ? next : LeaseTerm(last.rawValue)
      )
      if isPrimary { return try Self.primary(parts, lease) }
      let engine = try ReplicaEngine(store: parts.store)
      try parts.store.becomeReplica()
      let client = try parts.client(
        of: primary,
        engine
      )
      return NodeStart(lease: lease, roles: RoleKeeper(.replica(client, engine)))
    case .quorum(let quorum): return try Self.quorum(parts, quorum, last: last)
    }
  }

  private static func primary(_ parts: NodeParts, _ lease: StaticLease) throws -> NodeStart {
    let identity = parts.cluster.given ?? NodeIdentity.newCluster()
    let term = Term(lease.state.term.rawValue)
    // On record before anything is written under it, so that no later start uses it again.
    try parts.cluster.adopt(cluster: identity, term: term, isConfirmed: true)
    try parts.store.becomePrimary(term)
    guard let security = parts.security else {
      return NodeStart(lease: lease, roles: RoleKeeper(.alone))
    }
    let server = parts.server(
      .init(
        address: NetworkAddress(parts.configuration.replication.address),
        security: security,
        nodeName: parts.name,
        cluster: identity
      ),
      term: { term }
    )
    return NodeStart(lease: lease, roles: RoleKeeper(.primary(term)), server: server)
  }
}

extension NetworkAddress {
  /// An address as the configuration has it.
  init(_ text: SocketAddressText) { self.init(host: text.host, port: text.port) }
}
