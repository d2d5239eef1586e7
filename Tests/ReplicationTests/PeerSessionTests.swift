import Replication
import Testing

/// Who may take part in an election, and what is said between those who may.
@Suite(.timeLimit(.minutes(1))) struct PeerSessionTests {
  private let start = ContinuousClock.now

  private func accepting(
    name: String = "node1",
    cluster: ClusterID? = Samples.cluster,
    certified: Set<String>? = ["node2", "host2"]
  ) -> PeerSession {
    PeerSession(
      .accepting(voters: ["node1", "node2", "node3"]),
      local: PeerSession.Local(name: name, cluster: cluster),
      certifiedNames: certified,
      now: start
    )
  }

  private func dialling(
    cluster: ClusterID? = Samples.cluster,
    certified: Set<String>? = ["node1", "host1"]
  ) -> PeerSession {
    PeerSession(
      .dialling(voter: "node1"),
      local: PeerSession.Local(name: "node2", cluster: cluster),
      certifiedNames: certified,
      now: start
    )
  }

  /// What the session says and does until it has nothing more to do.
  private struct Outcome {
    var sent: [Message] = []
    var delivered: [[UInt8]] = []
    var senders: Set<String> = []
    var end: ReplicationError?
    var kinds: [Message.Kind] { sent.map(\.kind) }
  }

  private func drain(_ session: inout PeerSession, at now: ContinuousClock.Instant) -> Outcome {
    var outcome = Outcome()
    while let directive = session.next(at: now) {
      switch directive {
      case .send(let message): outcome.sent.append(message)
      case .deliver(let bytes, let name):
        outcome.delivered.append(bytes)
        outcome.senders.insert(name)
      case .close(let error): outcome.end = error
      }
    }
    return outcome
  }

  /// Carries what each says to the other until both are silent; what came of the two.
  private func converse(
    _ dialling: inout PeerSession,
    _ accepting: inout PeerSession
  ) -> (dialling: Outcome, accepting: Outcome) {
    var ends: (Outcome, Outcome) = (Outcome(), Outcome())
    while true {
      let said = drain(&dialling, at: start)
      for message in said.sent { accepting.receive(message, at: start) }
      let answered = drain(&accepting, at: start)
      for message in answered.sent { dialling.receive(message, at: start) }
      ends.0.sent += said.sent
      ends.0.end = ends.0.end ?? said.end
      ends.1.sent += answered.sent
      ends.1.delivered += answered.delivered
      ends.1.senders.formUnion(answered.senders)
      ends.1.end = ends.1.end ?? answered.end
      if said.sent.isEmpty, answered.sent.isEmpty { return ends }
    }
  }

  private func openPair() -> (dialling: PeerSession, accepting: PeerSession) {
    var pair = (dialling(), accepting())
    _ = converse(&pair.0, &pair.1)
    return pair
  }

  // MARK: Who

  @Test(arguments: [Samples.cluster, nil], [Samples.cluster, nil])
  func votersOfOneClusterOrOfNoneYetAgree(mine: ClusterID?, theirs: ClusterID?) {
    var dialler = dialling(cluster: mine)
    var acceptor = accepting(cluster: theirs)
    let ends = converse(&dialler, &acceptor)
    #expect(ends.dialling.kinds == [.peerHello] && ends.accepting.kinds == [.peerWelcome])
    #expect(dialler.isOpen && acceptor.isOpen)
    #expect(dialler.name == "node1" && acceptor.name == "node2")
    #expect(dialler.features == .supported && acceptor.features == .supported)
  }

  private func refusal(_ hello: PeerHello, _ session: PeerSession) -> RefusalReason? {
    var session = session
    session.receive(.peerHello(hello), at: start)
    let outcome = drain(&session, at: start)
    let isOpen = session.isOpen
    #expect(isOpen == (outcome.end == nil))
    guard case .refusal(let refusal)? = outcome.sent.first else { return nil }
    #expect(outcome.end?.code == .refused(refusal.reason))
    return refusal.reason
  }

  @Test func theAcceptingSideRefuses() {
    let good = PeerHello(cluster: Samples.cluster, name: "node2")
    #expect(refusal(good, accepting()) == nil)
    #expect(refusal(good, accepting(certified: nil)) == nil)
    #expect(refusal(good, accepting(certified: ["node3"])) == .wrongName)
    #expect(refusal(good, accepting(certified: [])) == .wrongName)
    #expect(refusal(good, accepting(cluster: clusterID("another"))) == .otherCluster)
    #expect(refusal(good, accepting(name: "node2")) == .itself)
    var stranger = good
    stranger.name = "node9"
    #expect(refusal(stranger, accepting(certified: ["node9"])) == .notVoter)
    var future = good
    future.versions = 2...9
    #expect(refusal(future, accepting()) == .version)
    future.versions = 1...9
    #expect(refusal(future, accepting()) == nil)
  }

  @Test func aNodeThatKnowsNoVotersRefusesAll() {
    let session = PeerSession(
      .accepting(voters: []),
      local: PeerSession.Local(name: "node1", cluster: Samples.cluster),
      now: start
    )
    #expect(refusal(PeerHello(cluster: nil, name: "node2"), session) == .notVoter)
  }

  @Test func theDiallingSideRefuses() {
    let good = PeerWelcome(version: 1, features: [], cluster: Samples.cluster, name: "node1")
    func refusal(_ welcome: PeerWelcome, certified: Set<String>? = nil) -> RefusalReason? {
      var session = dialling(certified: certified)
      _ = drain(&session, at: start)
      session.receive(.peerWelcome(welcome), at: start)
      return drain(&session, at: start).end?.code.refusal
    }
    #expect(refusal(good) == nil)
    #expect(refusal(good, certified: ["host1"]) == .wrongName)
    var other = good
    other.name = "node3"
    #expect(refusal(other, certified: ["node3"]) == .wrongName)
    other = good
    other.name = "node2"
    #expect(refusal(other) == .itself)
    other = good
    other.cluster = clusterID("another")
    #expect(refusal(other) == .otherCluster)
    other = good
    other.version = 2
    #expect(refusal(other) == .version)
  }

  @Test func aRefusalEndsBothSides() {
    var dialler = dialling(cluster: clusterID("another"))
    var acceptor = accepting()
    let ends = converse(&dialler, &acceptor)
    #expect(ends.dialling.end?.code == .refused(.otherCluster))
    #expect(ends.accepting.end?.code == .refused(.otherCluster))
    dialler = dialling(certified: ["host1"])
    acceptor = accepting()
    let others = converse(&dialler, &acceptor)
    #expect(others.dialling.end?.code == .refused(.wrongName))
    // Nothing of the accepting side's was refused to somebody: it is told.
    #expect(others.accepting.end?.code == .closed)
  }

  @Test func aNodeThatJoinsAnotherClusterStopsTalking() {
    var dialler = dialling(cluster: Samples.cluster)
    var acceptor = accepting(cluster: nil)
    _ = converse(&dialler, &acceptor)
    acceptor.tick(at: start, cluster: Samples.cluster, wallClock: 0)
    #expect(acceptor.isOpen)
    acceptor.tick(at: start, cluster: clusterID("another"), wallClock: 0)
    let ends = converse(&dialler, &acceptor)
    #expect(ends.accepting.end?.code == .refused(.otherCluster))
    #expect(ends.dialling.end?.code == .refused(.otherCluster))
  }

  // MARK: What

  @Test func messagesGoOneWayInOrder() {
    var (dialler, acceptor) = openPair()
    dialler.send([1])
    dialler.send([])
    dialler.send([2, 3])
    let ends = converse(&dialler, &acceptor)
    #expect(ends.accepting.delivered == [[1], [], [2, 3]])
    #expect(ends.accepting.senders == ["node2"])
    // The other way is the other side's own connection.
    dialler.receive(.peerMessage([4]), at: start)
    let outcome = drain(&dialler, at: start)
    #expect(outcome.end?.code == .protocolViolation && outcome.delivered.isEmpty)
  }

  @Test func whatCannotBeSentNowIsDropped() {
    var dialler = dialling()
    var acceptor = accepting()
    dialler.send([1])
    _ = converse(&dialler, &acceptor)
    dialler.isWritable = false
    dialler.send([2])
    dialler.isWritable = true
    dialler.send([3])
    #expect(converse(&dialler, &acceptor).accepting.delivered == [[3]])
    dialler.stop(.stopping)
    dialler.send([4])
    #expect(converse(&dialler, &acceptor).accepting.delivered.isEmpty)
  }

  @Test func aVoterMustBeginWithItsHello() {
    for message in Samples.messages where message.kind != .peerHello {
      var session = accepting()
      session.receive(message, at: start)
      #expect(drain(&session, at: start).end?.code == .refused(.malformed), "\(message.kind)")
    }
    for message in Samples.messages
    where ![.peerWelcome, .refusal, .goodbye].contains(message.kind) {
      var session = dialling()
      session.receive(message, at: start)
      #expect(drain(&session, at: start).end?.code == .protocolViolation, "\(message.kind)")
    }
  }

  @Test func whatOnlyOthersMaySayIsAViolation() {
    for message in Samples.messages
    where ![.peerMessage, .heartbeat, .refusal, .goodbye].contains(message.kind) {
      var (dialler, acceptor) = openPair()
      dialler.receive(message, at: start)
      acceptor.receive(message, at: start)
      #expect(drain(&dialler, at: start).end?.code == .protocolViolation, "\(message.kind)")
      let outcome = drain(&acceptor, at: start)
      #expect(outcome.end?.code == .protocolViolation && outcome.kinds == [.goodbye])
    }
  }

  @Test func bytesThatAreNoFrameEndASession() {
    let error = ReplicationError(.malformed, "no frame")
    var session = accepting()
    session.malformed(error)
    #expect(drain(&session, at: start).end?.code == .refused(.malformed))
    var (dialler, acceptor) = openPair()
    dialler.malformed(error)
    acceptor.malformed(error)
    #expect(drain(&dialler, at: start).kinds == [.goodbye])
    #expect(drain(&acceptor, at: start).end?.code == .protocolViolation)
  }

  @Test func aGoodbyeIsSaidAndHeard() {
    var (dialler, acceptor) = openPair()
    acceptor.stop(.replaced)
    let ends = converse(&dialler, &acceptor)
    #expect(ends.accepting.kinds == [.goodbye])
    #expect(ends.dialling.end?.code == .closed && ends.accepting.end?.code == .closed)
  }

  // MARK: When

  @Test func anIdleSideHearsHeartbeatsAndASilentOneIsGivenUp() {
    let timing = SessionTiming()
    var (dialler, acceptor) = openPair()
    func tick(_ session: inout PeerSession, _ now: ContinuousClock.Instant) -> Outcome {
      session.tick(at: now, cluster: Samples.cluster, wallClock: 0)
      return drain(&session, at: now)
    }
    var now = start
    for _ in 0..<40 {
      now += timing.heartbeat
      let said = tick(&dialler, now)
      let answered = tick(&acceptor, now)
      #expect(said.kinds == [.heartbeat] && answered.kinds == [.heartbeat])
      for message in said.sent { acceptor.receive(message, at: now) }
      for message in answered.sent { dialler.receive(message, at: now) }
    }
    // Cut: nothing arrives any more.
    #expect(tick(&dialler, now + timing.silence - .milliseconds(1)).end == nil)
    #expect(tick(&dialler, now + timing.silence).end?.code == .timeout)
    #expect(tick(&acceptor, now + timing.silence).end?.code == .timeout)
  }

  @Test func aMessageIsAsGoodAsAHeartbeat() {
    let timing = SessionTiming()
    var (dialler, _) = openPair()
    let now = start + timing.heartbeat
    dialler.send([1])
    _ = drain(&dialler, at: now)
    dialler.tick(at: now, cluster: nil, wallClock: 0)
    #expect(drain(&dialler, at: now).sent.isEmpty)
  }

  @Test func anUnfinishedHandshakeIsGivenUp() {
    let late = start + SessionTiming().handshake
    var dialler = dialling()
    var acceptor = accepting()
    dialler.tick(at: late, cluster: nil, wallClock: 0)
    acceptor.tick(at: late, cluster: nil, wallClock: 0)
    #expect(drain(&dialler, at: late).end?.code == .timeout)
    #expect(drain(&acceptor, at: late).end?.code == .refused(.halfOpen))
  }
}
