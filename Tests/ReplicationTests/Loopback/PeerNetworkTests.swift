import NIOCore
import Replication
import Store
import Synchronization
import Testing

/// Voters over real TLS on loopback, on the port that replicas use too.
@Suite(.timeLimit(.minutes(2))) struct PeerNetworkTests {
  private func refusals(_ cluster: Cluster, _ reason: RefusalReason) -> Int {
    cluster.metrics.current.refusals[reason] ?? 0
  }

  @Test func votersHearEachOther() async throws {
    let cluster = try Cluster()
    let names: Set = ["node1", "node2", "node3"]
    var servers: [ReplicationServer] = []
    var inboxes: [String: Inbox] = [:]
    var ports: [String: Int] = [:]
    for name in names.sorted() {
      let inbox = Inbox()
      let server = try cluster.votingServer(name, voters: names, inbox: inbox)
      servers.append(server)
      inboxes[name] = inbox
      ports[name] = try await server.listen()
    }
    var networks: [String: PeerNetwork] = [:]
    for name in names {
      networks[name] = try cluster.network(name, to: ports.filter { $0.key != name })
    }
    try await running(servers, Array(networks.values)) {
      for (name, network) in networks {
        try await eventually("\(name) reaches all") {
          network.connected == names.subtracting([name])
        }
        for other in names.subtracting([name]) {
          for number in 1...20 { network.send(Array(name.utf8) + [UInt8(number)], to: other) }
        }
        // Nobody by that name: dropped, as when there is no connection.
        network.send([1], to: "node9")
      }
      for (name, inbox) in inboxes {
        for other in names.subtracting([name]) {
          let expected = (1...20).map { Array(other.utf8) + [UInt8($0)] }
          try await eventually("\(name) hears \(other)") { inbox.from(other) == expected }
        }
      }
      #expect(cluster.metrics.current.refusals.isEmpty)
      #expect(cluster.metrics.current.replicasConnected == 0)
      #expect(cluster.log.all("A voter is connected").count == 6)
    }
    for network in networks.values { #expect(network.connected.isEmpty) }
    try await cluster.shutDown()
  }

  @Test func aLongMessageArrives() async throws {
    try await withVoter { cluster, inbox, port in
      let network = try cluster.network("node2", to: ["node1": port])
      let message = [UInt8](repeating: 9, count: WireLimit.peerMessage)
      try await running([], [network]) {
        try await eventually("connected") { network.connected == ["node1"] }
        network.send(message, to: "node1")
        try await eventually("heard") { inbox.all == [.init(from: "node2", bytes: message)] }
      }
    }
  }

  /// Runs the server of the voter node1, whose only other voter is node2.
  private func withVoter(
    _ change: (inout ReplicationServer.Configuration) -> Void = { _ in },
    _ body: (Cluster, Inbox, Int) async throws -> Void
  ) async throws {
    let cluster = try Cluster()
    let inbox = Inbox()
    let server = try cluster.votingServer(
      "node1",
      voters: ["node1", "node2"],
      inbox: inbox,
      change
    )
    let port = try await server.listen()
    try await running([server]) { try await body(cluster, inbox, port) }
    try await cluster.shutDown()
  }

  // MARK: Refusals

  /// A voter that is refused by node1 again and again for one reason.
  private func expectRefused(
    _ reason: RefusalReason,
    _ network: (Cluster, Int) throws -> PeerNetwork
  ) async throws {
    try await withVoter { cluster, inbox, port in
      let network = try network(cluster, port)
      try await running([], [network]) {
        try await eventually("refused three times") { refusals(cluster, reason) >= 3 }
        #expect(network.connected.isEmpty)
        network.send([1], to: "node1")
      }
      #expect(Set(cluster.metrics.current.refusals.keys) == [reason])
      #expect(cluster.log.all("A peer was refused").count == 1)
      #expect(cluster.log.all("There is no connection to a voter; trying again").count == 1)
      #expect(inbox.all.isEmpty)
    }
  }

  @Test func anUnknownVoterIsRefused() async throws {
    try await expectRefused(.notVoter) { try $0.network("node3", to: ["node1": $1]) }
  }

  @Test func aVoterWithTheCertificateOfAnotherIsRefused() async throws {
    try await expectRefused(.wrongName) { cluster, port in
      let other = try cluster.credentials(cluster.contents("node3"))
      return try cluster.network("node2", to: ["node1": port], security: .tls(other))
    }
  }

  @Test func aVoterOfAnotherClusterIsRefused() async throws {
    try await expectRefused(.otherCluster) {
      try $0.network("node2", to: ["node1": $1], cluster: clusterID("another"))
    }
  }

  @Test func aServerThatKnowsNoVotersRefusesThem() async throws {
    try await withCluster { cluster, _, port in
      let network = try cluster.network("node2", to: ["node1": port])
      try await running([], [network]) {
        try await eventually("refused") { refusals(cluster, .notVoter) >= 2 }
        #expect(network.connected.isEmpty)
      }
    }
  }

  @Test func anotherNodeAtAVotersAddressIsRefused() async throws {
    try await withVoter { cluster, inbox, port in
      // Its certificate is good for the address, but it is not the voter that is meant.
      let network = try cluster.network("node2", to: ["node3": port])
      try await running([], [network]) {
        try await eventually("refused") {
          cluster.log.all("There is no connection to a voter; trying again").contains {
            $0.metadata["reason"]?.contains("calls itself node1") == true
          }
        }
        network.send([1], to: "node3")
        #expect(network.connected.isEmpty)
      }
      #expect(inbox.all.isEmpty)
    }
  }

  @Test func aServerWithoutTheNameOrTheHostIsRefused() async throws {
    let cluster = try Cluster()
    let inbox = Inbox()
    let elsewhere = try cluster.credentials(cluster.contents("node3", hosts: ["10.1.1.1"]))
    let server = try cluster.votingServer("node1", voters: ["node2"], inbox: inbox) {
      $0.security = .tls(elsewhere)
    }
    let port = try await server.listen()
    let network = try cluster.network("node2", to: ["node1": port])
    try await running([server], [network]) {
      try await eventually("refused") {
        cluster.log.all("There is no connection to a voter; trying again").contains {
          $0.metadata["reason"]?.contains("certificate was refused") == true
        }
      }
      #expect(network.connected.isEmpty)
    }
    try await cluster.shutDown()
  }

  // MARK: Connections that come and go

  @Test func aVoterThatComesBackIsDialledAgain() async throws {
    let cluster = try Cluster()
    let inbox = Inbox()
    var server = try cluster.votingServer("node1", voters: ["node2"], inbox: inbox)
    let port = try await server.listen()
    let network = try cluster.network("node2", to: ["node1": port])
    try await running([], [network]) {
      for round in 1...3 {
        try await running([server]) {
          try await eventually("connected") { network.connected == ["node1"] }
          network.send([UInt8(round)], to: "node1")
          try await eventually("heard") { inbox.all.last?.bytes == [UInt8(round)] }
        }
        try await eventually("noticed") { network.connected.isEmpty }
        network.send([0], to: "node1")
        server = try cluster.votingServer("node1", voters: ["node2"], inbox: inbox, port: port)
      }
    }
    #expect(inbox.from("node2") == [[1], [2], [3]])
    try await cluster.shutDown()
  }

  @Test func aNewerConnectionTakesTheOldOnesPlace() async throws {
    let inbox = Inbox()
    try await withCluster(
      { configuration in
        configuration.peers = PeerAcceptance(names: ["node2"]) { inbox.put($0, $1) }
      },
      security: .insecure
    ) { cluster, _, port in
      let old = try await RawPeer(port: port, group: cluster.group)
      // What comes behind the hello in one piece is not lost.
      try await old.send(hello + Self.message([1]))
      try await eventually("heard") { inbox.from("node2") == [[1]] }
      let new = try await RawPeer(port: port, group: cluster.group)
      try await new.send(hello)
      try await old.closed()
      guard case .goodbye(let goodbye)? = try old.frames().last?.message else {
        Issue.record("no goodbye")
        return
      }
      #expect(goodbye.reason == .replaced)
      try await new.send(Self.message([2]))
      try await eventually("heard") { inbox.from("node2") == [[1], [2]] }
      #expect(new.isOpen)
    }
  }

  @Test func whatIsNoMessageEndsAConnection() async throws {
    let inbox = Inbox()
    try await withCluster(
      { configuration in
        configuration.peers = PeerAcceptance(names: ["node2"]) { inbox.put($0, $1) }
      },
      security: .insecure
    ) { cluster, _, port in
      let tooLong = Samples.sealed(
        type: Message.Kind.peerMessage.rawValue,
        term: 0,
        payload: [UInt8](repeating: 0, count: WireLimit.peerMessage + 1)
      )
      for bytes in [tooLong, [0, 0, 0, 1], hello] {
        let peer = try await RawPeer(port: port, group: cluster.group)
        try await peer.send(hello + bytes)
        try await peer.closed()
        #expect(try peer.frames().map(\.message.kind) == [.peerWelcome, .goodbye])
      }
      #expect(inbox.all.isEmpty)
    }
  }

  @Test func aSilentVoterIsGivenUp() async throws {
    try await withCluster(
      { configuration in
        configuration.peers = PeerAcceptance(names: ["node2"]) { _, _ in }
        configuration.timing.heartbeat = .milliseconds(50)
        configuration.timing.silence = .milliseconds(200)
      },
      security: .insecure
    ) { cluster, _, port in
      let peer = try await RawPeer(port: port, group: cluster.group)
      try await peer.send(hello)
      try await peer.closed()
      let kinds = try peer.frames().map(\.message.kind)
      #expect(kinds.first == .peerWelcome && kinds.contains(.heartbeat))
    }
  }

  private var hello: [UInt8] {
    let hello = PeerHello(cluster: Samples.cluster, name: "node2")
    return Samples.bytes(of: Frame(term: .zero, message: .peerHello(hello)))
  }

  private static func message(_ bytes: [UInt8]) -> [UInt8] {
    Samples.bytes(of: Frame(term: .zero, message: .peerMessage(bytes)))
  }
}
