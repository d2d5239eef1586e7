import Replication
import Store
import Synchronization
import Testing

/// Who is turned away, by which side, and with what word to the other.
@Suite(.timeLimit(.minutes(1))) struct HandshakeTests {
  private func pair(
    name: String = "replica",
    certified: Set<String>? = nil,
    cluster: ClusterID? = Samples.cluster,
    replicaTerm: Term = .zero,
    primaryTerm: Term = Term(1)
  ) -> PairSimulation {
    let source = FakeSource()
    source.state.withLock { $0.term = primaryTerm }
    source.commit("db", page: 1, fill: 1)
    var pair = PairSimulation(
      source: source,
      sink: FakeSink(),
      seed: 1,
      replicaName: name,
      certified: certified,
      cluster: cluster,
      replicaTerm: replicaTerm
    )
    pair.settle()
    return pair
  }

  private func expectRefusal(_ pair: PairSimulation, _ reason: RefusalReason) {
    #expect(pair.primaryEnd?.code == .refused(reason))
    #expect(pair.replicaEnd?.code == .refused(reason))
    #expect(pair.sink.state.withLock { $0.log.entries.isEmpty })
  }

  @Test func aReplicaOfTheClusterIsAdmitted() {
    let pair = pair(certified: ["replica", "host"], primaryTerm: Term(5))
    #expect(!pair.isOver)
    #expect(pair.isConverged)
    #expect(pair.replica.term == Term(5))
  }

  @Test func anotherClusterIsRefused() {
    expectRefusal(pair(cluster: clusterID("another")), .otherCluster)
  }

  @Test func aNodeThatReachesItselfIsRefused() {
    expectRefusal(pair(name: "primary"), .itself)
  }

  @Test func aNameThatTheCertificateLacksIsRefused() {
    expectRefusal(pair(certified: ["host", "other"]), .wrongName)
  }

  @Test func aReplicaOfALaterTermRefusesAnOldPrimary() {
    expectRefusal(pair(replicaTerm: Term(2)), .staleTerm)
  }

  @Test func aNodeThatIsNotPrimaryRefuses() {
    var primary = PrimaryPeer(
      local: PrimaryPeer.Local(name: "primary", cluster: Samples.cluster, term: nil),
      certifiedNames: nil,
      now: .now
    )
    #expect(reason(&primary, .hello(hello())) == .notPrimary)
  }

  @Test func aNodeWithoutAClusterRefusesReplicasAndNamesThePrimary() {
    var node = PrimaryPeer(
      local: PrimaryPeer.Local(
        name: "primary",
        cluster: nil,
        term: Term(1),
        primary: "node3:20203"
      ),
      certifiedNames: nil,
      now: .now
    )
    node.receive(Frame(term: .zero, message: .hello(hello())), at: .now)
    guard case .send(.refusal(let refusal))? = node.next(at: .now) else {
      Issue.record("no refusal")
      return
    }
    #expect(refusal.reason == .notPrimary)
    #expect(refusal.text == "This node is not the primary. The primary is at node3:20203.")
    #expect(end(&node)?.code == .refused(.notPrimary))
  }

  @Test func aVersionOfTheFutureIsRefused() {
    var hello = hello()
    hello.versions = 2...9
    var primary = newPrimary()
    #expect(reason(&primary, .hello(hello)) == .version)
    hello.versions = 1...9
    primary = newPrimary()
    #expect(reason(&primary, .hello(hello)) == nil)
  }

  @Test func aPeerMustBeginWithItsHello() {
    for message in Samples.messages where message.kind != .hello {
      var primary = newPrimary()
      primary.receive(Frame(term: Term(1), message: message), at: .now)
      #expect(end(&primary)?.code == .refused(.malformed))
    }
  }

  @Test func whatOnlyAPrimaryMaySayIsAViolation() {
    let allowed: Set<Message.Kind> = [
      .acknowledgement, .heartbeat, .snapshotRequest, .goodbye, .refusal, .grantRequest,
    ]
    for message in Samples.messages where !allowed.contains(message.kind) {
      var primary = streamingPrimary()
      primary.receive(Frame(term: Term(1), message: message), at: .now)
      #expect(end(&primary)?.code == .protocolViolation, "\(message.kind)")
    }
  }

  @Test func aLowerAndAHigherTermEndASession() {
    for term in [Term(0), Term(2)] {
      var primary = streamingPrimary()
      primary.receive(Frame(term: term, message: Samples.messages[5]), at: .now)
      var higher: Term?
      var closed: ReplicationError?
      while let directive = primary.next(at: .now) {
        if case .higherTerm(let seen) = directive { higher = seen }
        if case .close(let error) = directive { closed = error }
      }
      #expect(closed?.code == .refused(.staleTerm))
      #expect(higher == (term > Term(1) ? term : nil))
    }
  }

  @Test func acknowledgingWhatWasNotSentIsAViolation() {
    let none = ReplicaProgress(received: .zero, durable: .zero, applied: .zero, repairing: 0)
    var ahead = none
    ahead.received = LogIndex(9)
    for value in [
      Acknowledgement(progress: ahead, snapshotBytes: 0),
      Acknowledgement(progress: none, snapshotBytes: 1),
    ] {
      var primary = streamingPrimary()
      primary.receive(Frame(term: Term(1), message: .acknowledgement(value)), at: .now)
      #expect(end(&primary)?.code == .protocolViolation)
    }
  }

  @Test func aSilentPeerIsGivenUpAndAnIdleOneHearsHeartbeats() {
    var pair = pair()
    let sent = pair.sentKinds.count
    pair.tick(after: .milliseconds(250))
    #expect(pair.sentKinds.dropFirst(sent) == [.heartbeat])
    pair.settle()
    for _ in 0..<40 {
      pair.tick(after: .milliseconds(250))
      pair.settle()
    }
    #expect(!pair.isOver)
    // Cut: nothing arrives any more.
    for _ in 0..<13 { pair.tick(after: .milliseconds(250)) }
    #expect(pair.primaryEnd?.code == .timeout)
    #expect(pair.replicaEnd?.code == .timeout)
  }

  @Test func anUnfinishedHandshakeIsGivenUp() {
    var primary = newPrimary()
    primary.tick(at: .now + .seconds(4), term: Term(1), wallClock: 0)
    #expect(primary.next(at: .now) == nil)
    primary.tick(at: .now + .seconds(6), term: Term(1), wallClock: 0)
    #expect(end(&primary)?.code == .refused(.halfOpen))
  }

  @Test func aPrimaryWhoseTermChangesEndsItsSessions() {
    var pair = pair()
    pair.source.state.withLock { $0.term = Term(2) }
    pair.tick(after: .milliseconds(50))
    pair.settle()
    #expect(pair.primaryEnd?.code == .closed)
    #expect(pair.replicaEnd?.code == .closed)
  }

  @Test func lagIsTheAgeOfTheOldestEntryNotApplied() {
    var pair = pair()
    #expect(pair.primary.lag(at: pair.now) == .zero)
    pair.source.commit("db", page: 2, fill: 2)
    pair.primary.appended(at: pair.now)
    pair.pump()
    pair.now += .milliseconds(30)
    pair.source.commit("db", page: 2, fill: 3)
    pair.primary.appended(at: pair.now)
    pair.pump()
    #expect(pair.primary.lag(at: pair.now) == .milliseconds(30))
    #expect(pair.replica.lag(at: pair.now) == .zero)
    pair.settle()
    #expect(pair.primary.lag(at: pair.now) == .zero)
    #expect(pair.replica.lag(at: pair.now) == .zero)
    #expect(pair.replica.lag(at: pair.now + .seconds(2)) >= .seconds(2))
  }

  // MARK: A primary alone

  private func hello() -> Hello {
    Hello(
      cluster: Samples.cluster,
      name: "replica",
      wantsReset: false,
      log: LogSummary(first: LogIndex(1), last: .zero, terms: [])
    )
  }

  private func newPrimary() -> PrimaryPeer {
    PrimaryPeer(
      local: PrimaryPeer.Local(name: "primary", cluster: Samples.cluster, term: Term(1)),
      certifiedNames: nil,
      now: .now
    )
  }

  private func streamingPrimary() -> PrimaryPeer {
    var primary = newPrimary()
    primary.receive(Frame(term: .zero, message: .hello(hello())), at: .now)
    _ = primary.next(at: .now)
    primary.summarized(
      log: LogSummary(first: LogIndex(1), last: .zero, terms: []),
      databases: []
    )
    return primary
  }

  private func end(_ primary: inout PrimaryPeer) -> ReplicationError? {
    while let directive = primary.next(at: .now) {
      switch directive {
      case .close(let error): return error
      case .recent: primary.recent(LogBatch(first: LogIndex(1), last: .zero, bytes: []), at: .now)
      default: break
      }
    }
    return nil
  }

  private func reason(_ primary: inout PrimaryPeer, _ message: Message) -> RefusalReason? {
    primary.receive(Frame(term: .zero, message: message), at: .now)
    return end(&primary)?.code.refusal
  }
}
