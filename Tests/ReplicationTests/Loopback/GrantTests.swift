import Replication
import Store
import Synchronization
import Testing

/// A replica that asks its primary for grants, over real TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct GrantTests {
  private let ask = GrantRequest.ask(GrantID(1), database: "a.db")

  private func lenders(_ cluster: Cluster) -> [FakeLender] {
    cluster.source.state.withLock { $0.lenders }
  }

  /// A client that does not come back once its connection has ended.
  private func client(_ cluster: Cluster, _ port: Int, _ sink: FakeSink) throws -> ReplicationClient
  {
    try cluster.client(port: port, sink: sink) { configuration in
      configuration.backoff = Backoff(shortest: .seconds(60), longest: .seconds(60))
    }
  }

  /// Waits until the sink may ask; what it asks with.
  private func asking(_ sink: FakeSink) async throws -> @Sendable (GrantRequest) -> Void {
    try await eventually("it may ask") { sink.state.withLock { $0.send != nil } }
    guard let send = sink.state.withLock({ $0.send }) else { throw CancellationError() }
    return send
  }

  @Test func aReplicaAsksAndIsAnswered() async throws {
    try await withCluster { cluster, _, port in
      for page in 1...3 { cluster.source.commit("a.db", page: UInt32(page), fill: 1) }
      cluster.source.state.withLock { state in
        state.reply = { request in
          switch request {
          case .ask(let id, _): .given(id, through: LogIndex(3))
          case .append(let id, _, _): .appended(id, LogIndex(4))
          case .readIndex(let id): .readIndex(id, LogIndex(4))
          case .giveBack: nil
          }
        }
      }
      let sink = FakeSink()
      // Far longer than what a peer may send before it is admitted.
      let longest = [UInt8](repeating: 5, count: WireLimit.appended)
      let requests: [GrantRequest] = [
        ask, .append(GrantID(1), .transaction, payload: longest), .readIndex(GrantID(1)),
        .giveBack(GrantID(1)),
      ]
      try await following(try client(cluster, port, sink)) {
        let send = try await asking(sink)
        for request in requests { send(request) }
        try await eventually("it has asked for all") {
          lenders(cluster).first?.requests.count == requests.count
        }
        let lender = try #require(lenders(cluster).first)
        #expect(lender.requests == requests)
        #expect(lender.node == "node2")
        try await eventually("it is answered") {
          sink.state.withLock { $0.grantAnswers.count } == 3
        }
        lender.answer(.recalled(GrantID(1)))
        try await eventually("it is told what it did not ask for") {
          sink.state.withLock { $0.grantAnswers.count } == 4
        }
        #expect(lender.ends == 0)
      }
      let answers = sink.state.withLock { $0.grantAnswers }
      #expect(
        answers == [
          .given(GrantID(1), through: LogIndex(3)), .appended(GrantID(1), LogIndex(4)),
          .readIndex(GrantID(1), LogIndex(4)), .recalled(GrantID(1)),
        ]
      )
      #expect(sink.state.withLock { $0.connections } == [LogIndex(3)])
    }
  }

  /// - Parameter isReplicas: whether the replica ends the connection, or the primary.
  @Test(arguments: [false, true]) func grantsEndWithTheirConnection(isReplicas: Bool) async throws {
    try await withCluster { cluster, server, port in
      let sink = FakeSink()
      try await following(try client(cluster, port, sink)) {
        let send = try await asking(sink)
        send(ask)
        try await eventually("it has asked") { lenders(cluster).first?.requests == [ask] }
        #expect(sink.state.withLock { $0.disconnections } == 0)
        if isReplicas { return }
        await server.closeReplicas(.newTerm)
        try await eventually("the replica notices") {
          sink.state.withLock { $0.disconnections } == 1
        }
        // Forgotten: there is no connection to send it over.
        send(.readIndex(GrantID(1)))
      }
      try await eventually("the primary notices") { lenders(cluster).first?.ends == 1 }
      lenders(cluster).first?.answer(.recalled(GrantID(1)))
      await server.closeReplicas(.newTerm)
      #expect(lenders(cluster).map(\.ends) == [1])
      #expect(lenders(cluster).first?.requests == [ask])
      let (disconnections, answers) = sink.state.withLock { ($0.disconnections, $0.grantAnswers) }
      #expect(disconnections == 1 && answers.isEmpty)
    }
  }

  @Test func aNewerConnectionEndsTheGrantsOfTheOlder() async throws {
    try await withCluster { cluster, _, port in
      let (old, new) = (FakeSink(), FakeSink())
      try await following(try client(cluster, port, old)) {
        _ = try await asking(old)
        try await following(try client(cluster, port, new)) {
          let send = try await asking(new)
          try await eventually("the old one ends") {
            old.state.withLock { $0.disconnections } == 1 && lenders(cluster).first?.ends == 1
          }
          // Before the new one was told where the log ends, with one that could still append.
          let ended = cluster.source.state.withLock { $0.lentNoMore }
          #expect(ended.map(\.name) == ["node2", "node2"] && ended.map(\.lenders) == [0, 1])
          send(ask)
          try await eventually("the new one asks") { lenders(cluster).last?.requests == [ask] }
          #expect(lenders(cluster).map(\.ends) == [1, 0])
        }
      }
      try await eventually("both have ended") { lenders(cluster).map(\.ends) == [1, 1] }
      #expect(old.state.withLock { $0.disconnections } == 1)
      #expect(new.state.withLock { $0.disconnections } == 1)
    }
  }

  @Test func aPrimaryThatGivesNoGrantsIsNotAsked() async throws {
    try await withCluster { configuration in
      configuration.features = [.packedEntries]
    } _: { cluster, _, port in
      cluster.source.commit("a.db", page: 1, fill: 1)
      let sink = FakeSink()
      try await following(try client(cluster, port, sink)) {
        try await eventually("the replica follows") { isConverged(cluster.source, sink) }
      }
      #expect(lenders(cluster).isEmpty)
      #expect(sink.state.withLock { $0.connections.isEmpty && $0.disconnections == 0 })
    }
  }
}
