import Replication
import Store
import Testing

/// Grants between both machines, without I/O.
@Suite(.timeLimit(.minutes(1))) struct GrantSessionTests {
  private let request = GrantRequest.ask(GrantID(1), database: "db")
  private let answer = GrantAnswer.given(GrantID(1), through: LogIndex(1))

  private func pair(features: Features = .supported) -> PairSimulation {
    let source = FakeSource()
    source.commit("db", page: 1, fill: 1)
    var pair = PairSimulation(source: source, sink: FakeSink(), seed: 1, features: features)
    pair.settle()
    return pair
  }

  @Test func requestsReachThePrimaryAndAnswersTheReplica() {
    var pair = pair()
    #expect(pair.replica.features == .supported && pair.primary.features == .supported)
    #expect(pair.replica.welcomed == LogIndex(1))
    for request in Samples.grantRequests { pair.replica.request(request) }
    pair.settle()
    #expect(pair.grantRequests == Samples.grantRequests)
    for answer in Samples.grantAnswers { pair.primary.answer(answer) }
    pair.settle()
    #expect(pair.grantAnswers == Samples.grantAnswers)
    #expect(!pair.isOver)
  }

  /// Neither the delay of an acknowledgement nor a full connection holds a request back, and what
  /// is said about grants goes before entries.
  @Test func requestsAndAnswersGoFirst() {
    var pair = pair()
    pair.source.commit("db", page: 2, fill: 2)
    pair.primary.appended(at: pair.now)
    pair.primary.answer(answer)
    guard case .send(.grantAnswer(answer))? = pair.primary.next(at: pair.now) else {
      Issue.record("the answer waits")
      return
    }
    pair.replica.progressed()
    pair.replica.request(request)
    guard case .send(.grantRequest(request))? = pair.replica.next(at: pair.now) else {
      Issue.record("the request waits")
      return
    }
    pair.replica.isWritable = false
    pair.replica.request(request)
    guard case .send(.grantRequest(request))? = pair.replica.next(at: pair.now) else {
      Issue.record("the request waits for the connection")
      return
    }
  }

  @Test func nothingIsAskedBeforeEntriesFlow() {
    let source = FakeSource()
    var pair = PairSimulation(source: source, sink: FakeSink(), seed: 1)
    pair.replica.request(request)
    pair.primary.answer(answer)
    while !pair.replica.isStreaming, pair.step() { pair.replica.request(request) }
    #expect(pair.replica.isStreaming && !pair.repliedKinds.contains(.grantRequest))
    #expect(!pair.sentKinds.contains(.grantAnswer))
    #expect(!pair.isOver)
  }

  @Test func withoutTheFeatureNeitherSideSpeaksOfGrants() {
    var pair = pair(features: [.packedEntries])
    #expect(pair.replica.features == .packedEntries)
    pair.replica.request(request)
    pair.primary.answer(answer)
    pair.settle()
    #expect(!pair.repliedKinds.contains(.grantRequest))
    #expect(!pair.sentKinds.contains(.grantAnswer))
    #expect(!pair.isOver)
  }

  @Test func withoutTheFeatureARequestIsAViolation() {
    var pair = pair(features: [.packedEntries])
    let frame = Frame(term: pair.primary.term, message: .grantRequest(request))
    pair.primary.receive(frame, at: pair.now)
    pair.pump()
    #expect(pair.primaryEnd?.code == .protocolViolation)
    #expect(pair.grantRequests.isEmpty)
  }

  @Test func withoutTheFeatureAnAnswerIsAViolation() {
    var pair = pair(features: [.packedEntries])
    let frame = Frame(term: pair.replica.term, message: .grantAnswer(answer))
    pair.replica.receive(frame, at: pair.now)
    pair.pump()
    #expect(pair.replicaEnd?.code == .protocolViolation)
    #expect(pair.grantAnswers.isEmpty)
  }

  @Test func eachSideSaysOnlyItsOwnPart() {
    var pair = pair()
    pair.primary.receive(
      Frame(term: pair.primary.term, message: .grantAnswer(answer)),
      at: pair.now
    )
    pair.replica.receive(
      Frame(term: pair.replica.term, message: .grantRequest(request)),
      at: pair.now
    )
    pair.pump()
    #expect(pair.primaryEnd?.code == .protocolViolation)
    #expect(pair.replicaEnd?.code == .protocolViolation)
  }

  @Test func whatWaitsWhenTheConnectionEndsIsForgotten() {
    var pair = pair()
    let frame = Frame(term: pair.primary.term, message: .grantRequest(request))
    pair.primary.receive(frame, at: pair.now)
    pair.primary.stop(.stopping)
    pair.primary.answer(answer)
    pair.pump()
    #expect(pair.primaryEnd?.code == .closed)
    #expect(pair.grantRequests.isEmpty)
    #expect(!pair.sentKinds.contains(.grantAnswer))
    pair.settle()
    #expect(pair.replicaEnd?.code == .closed)
    pair.replica.request(request)
    pair.pump()
    #expect(!pair.repliedKinds.contains(.grantRequest))
  }
}
