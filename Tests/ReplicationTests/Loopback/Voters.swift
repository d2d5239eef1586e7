import Replication
import Synchronization

/// What a voter has been told.
final class Inbox: Sendable {
  struct Letter: Hashable, Sendable {
    var from: String
    var bytes: [UInt8]
  }
  private let letters = Mutex<[Letter]>([])

  func put(_ bytes: [UInt8], _ from: String) {
    letters.withLock { $0.append(Letter(from: from, bytes: bytes)) }
  }
  var all: [Letter] { letters.withLock { $0 } }
  func from(_ name: String) -> [[UInt8]] { all.filter { $0.from == name }.map(\.bytes) }
}

extension Cluster {
  /// The server of a voter that takes messages into the inbox.
  func votingServer(
    _ name: String,
    voters: Set<String>,
    inbox: Inbox,
    port: Int = 0,
    _ change: (inout ReplicationServer.Configuration) -> Void = { _ in }
  ) throws -> ReplicationServer {
    try server(security: .tls(credentials(contents(name))), port: port) { configuration in
      configuration.nodeName = name
      configuration.peers = PeerAcceptance(names: voters) { inbox.put($0, $1) }
      change(&configuration)
    }
  }

  func network(
    _ name: String,
    to ports: [String: Int],
    security: TransportSecurity? = nil,
    cluster: ClusterID? = Samples.cluster
  ) throws -> PeerNetwork {
    var configuration = PeerNetwork.Configuration(
      peers: ports.mapValues { NetworkAddress(host: "127.0.0.1", port: $0) },
      security: try security ?? .tls(credentials(contents(name))),
      nodeName: name
    ) { cluster }
    configuration.timing = Self.timing
    configuration.backoff = Backoff(shortest: .milliseconds(10), longest: .milliseconds(50))
    return PeerNetwork(
      configuration: configuration,
      metrics: metrics,
      logger: logger,
      group: group
    )
  }
}

/// Runs servers and networks while the body does, then ends them.
func running(
  _ servers: [ReplicationServer] = [],
  _ networks: [PeerNetwork] = [],
  _ body: () async throws -> Void
) async throws {
  let tasks =
    servers.map { server in Task { try await server.run() } }
    + networks.map { network in Task { try await network.run() } }
  let result: Result<Void, any Error>
  do {
    result = .success(try await body())
  } catch {
    result = .failure(error)
  }
  for task in tasks { task.cancel() }
  for task in tasks { try await task.value }
  try result.get()
}
