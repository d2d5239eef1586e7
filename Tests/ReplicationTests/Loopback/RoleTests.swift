import NIOCore
import Replication
import Store
import Synchronization
import Testing

/// A server whose node becomes the primary, and stops being it, while it listens.
@Suite(.timeLimit(.minutes(2))) struct RoleTests {
  /// What a node knows of itself, as it changes.
  private final class Role: Sendable {
    struct State {
      var cluster: ClusterID?
      var term: Term?
      var primary: String?
    }
    let state = Mutex(State())
    var cluster: ClusterID? { state.withLock { $0.cluster } }
    var term: Term? { state.withLock { $0.term } }
    var primary: String? { state.withLock { $0.primary } }
  }

  private func server(_ cluster: Cluster, _ role: Role, _ inbox: Inbox) throws -> ReplicationServer
  {
    var configuration = ReplicationServer.Configuration(
      address: NetworkAddress(host: "127.0.0.1", port: 0),
      security: .tls(try cluster.credentials(cluster.contents("node1"))),
      nodeName: "node1"
    ) { role.cluster }
    configuration.timing = Cluster.timing
    configuration.peers = PeerAcceptance(names: ["node2"]) { inbox.put($0, $1) }
    configuration.primary = { role.primary }
    return ReplicationServer(
      configuration: configuration,
      source: cluster.source,
      term: { role.term },
      metrics: cluster.metrics,
      logger: cluster.logger,
      group: cluster.group,
      pool: cluster.pool
    )
  }

  @Test func aVoterListensBeforeItKnowsItsCluster() async throws {
    let cluster = try Cluster()
    let role = Role()
    let inbox = Inbox()
    role.state.withLock { $0.primary = "node3:20203" }
    let server = try server(cluster, role, inbox)
    let port = try await server.listen()
    let network = try cluster.network("node2", to: ["node1": port], cluster: nil)
    let sink = FakeSink()
    let client = try cluster.client(port: port, sink: sink)
    cluster.source.commit("a.db", page: 1, fill: 1)
    try await running([server], [network]) {
      try await eventually("the voter is connected") { network.connected == ["node1"] }
      try await following(client) {
        try await eventually("the replica is refused") {
          client.status.failure?.code == .refused(.notPrimary)
        }
        let text = try #require(client.status.failure?.message)
        #expect(text.contains("The primary is at node3:20203."))
        // The node is elected; both go on as they are.
        role.state.withLock { state in
          state.cluster = Samples.cluster
          state.term = Term(1)
          state.primary = nil
        }
        try await eventually("the replica follows") { isConverged(cluster.source, sink) }
        network.send([1], to: "node1")
        try await eventually("the voter is heard") { inbox.from("node2") == [[1]] }
      }
    }
    #expect(Set(cluster.metrics.current.refusals.keys) == [.notPrimary])
    try await cluster.shutDown()
  }

  @Test func aNodeThatStopsBeingThePrimaryDismissesReplicasAndNoVoters() async throws {
    let cluster = try Cluster()
    let role = Role()
    let inbox = Inbox()
    role.state.withLock { $0 = .init(cluster: Samples.cluster, term: Term(1), primary: nil) }
    let server = try server(cluster, role, inbox)
    let port = try await server.listen()
    let network = try cluster.network("node2", to: ["node1": port])
    let sink = FakeSink()
    // A voter is a replica too, over two connections to one port.
    let client = try cluster.client(port: port, sink: sink)
    cluster.source.commit("a.db", page: 1, fill: 1)
    try await running([server], [network]) {
      try await eventually("the voter is connected") { network.connected == ["node1"] }
      try await following(client) {
        try await eventually("the replica follows") { isConverged(cluster.source, sink) }
        #expect(cluster.metrics.current.replicasConnected == 1)
        role.state.withLock { $0.term = nil }
        await server.closeReplicas()
        #expect(cluster.metrics.current.replicasConnected == 0)
        try await eventually("the replica is refused") {
          client.status.failure?.code == .refused(.notPrimary)
        }
        let lost = cluster.log.all("There is no connection to the primary; trying again")
        #expect(lost.first?.metadata["reason"]?.contains("This node's term changed") == true)
        #expect(server.peers().map(\.isConnected) == [false])
        // The voter's connection has been there all along.
        #expect(cluster.log.all("There is no connection to a voter; trying again").isEmpty)
        network.send([1], to: "node1")
        try await eventually("the voter is heard") { inbox.from("node2") == [[1]] }
      }
    }
    try await cluster.shutDown()
  }
}
