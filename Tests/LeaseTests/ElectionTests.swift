import Testing

@testable import Lease

/// The rules of the election, one by one, on a clock that the test moves.
struct ElectionTests {
  static let ttl = Duration.seconds(1)
  static let start = LeaseClock.Instant.now

  func election(
    _ name: String = "a",
    voters: Set<String> = ["a", "b", "c"],
    record: ElectionRecord = ElectionRecord(term: .zero, vote: nil),
    priority: Int64 = 0,
    isCandidate: Bool = true
  ) -> Election {
    Election(
      .init(
        name: name,
        voters: voters,
        ttl: Self.ttl,
        priority: priority,
        isCandidate: isCandidate
      ),
      record: record,
      seed: 7,
      now: Self.start
    )
  }

  func at(_ seconds: Double) -> LeaseClock.Instant { Self.start + .seconds(seconds) }
  func log(_ term: UInt64, _ index: UInt64) -> LogPosition {
    LogPosition(term: LeaseTerm(term), index: index)
  }

  /// A leader of term 1 that `b` has acknowledged at `start + 1`.
  func leader() -> Election {
    var election = election()
    election.tick(at: at(1), log: .zero)
    election.receive(
      .init(.zero, .preVoteReply(round: election.round, isGranted: true)),
      from: "b",
      at: at(1),
      log: .zero
    )
    election.fenced(LeaseTerm(1), log: .zero, at: at(1))
    election.receive(
      .init(LeaseTerm(1), .voteReply(isGranted: true)),
      from: "b",
      at: at(1),
      log: .zero
    )
    election.receive(
      .init(
        LeaseTerm(1),
        .heartbeatReply(sequence: election.sequence, log: .zero, isCandidate: true)
      ),
      from: "b",
      at: at(1.01),
      log: .zero
    )
    return election
  }

  @Test func aVoteIsOnStableStorageBeforeItIsSent() {
    var voter = election("b")
    voter.receive(
      .init(LeaseTerm(1), .voteRequest(log: .zero, isHandOver: false)),
      from: "a",
      at: at(0),
      log: .zero
    )
    #expect(
      voter.takeDirectives() == [
        .persist(ElectionRecord(term: LeaseTerm(1), vote: nil)), .fence(LeaseTerm(1)),
      ]
    )
    voter.fenced(LeaseTerm(1), log: .zero, at: at(0))
    #expect(
      voter.takeDirectives() == [
        .persist(ElectionRecord(term: LeaseTerm(1), vote: "a")),
        .send(.init(LeaseTerm(1), .voteReply(isGranted: true)), to: "a"),
      ]
    )
    // Not a second one in the same term, but the same again.
    for (candidate, isGranted) in [("c", false), ("a", true)] {
      voter.receive(
        .init(LeaseTerm(1), .voteRequest(log: .zero, isHandOver: false)),
        from: candidate,
        at: at(0),
        log: .zero
      )
      voter.fenced(LeaseTerm(1), log: .zero, at: at(0))
      let reply = Election.Directive.send(
        .init(LeaseTerm(1), .voteReply(isGranted: isGranted)),
        to: candidate
      )
      #expect(voter.takeDirectives().last == reply)
    }
  }

  /// What the log took between the question and the fence counts.
  @Test(
    arguments: [(5, 2, true), (4, 9, false), (5, 1, false), (6, 0, true)]
      as [(UInt64, UInt64, Bool)]
  )
  func onlyALogAsAdvancedGetsTheVote(term: UInt64, index: UInt64, isGranted: Bool) {
    var voter = election("b")
    voter.receive(
      .init(LeaseTerm(7), .voteRequest(log: log(term, index), isHandOver: false)),
      from: "a",
      at: at(0),
      log: .zero
    )
    voter.fenced(LeaseTerm(7), log: log(5, 2), at: at(0))
    #expect(
      voter.takeDirectives().last
        == .send(.init(LeaseTerm(7), .voteReply(isGranted: isGranted)), to: "a")
    )
    #expect(voter.record.vote == (isGranted ? "a" : nil))
  }

  @Test func whoHearsALeaderVotesForNobody() {
    var voter = election("b")
    voter.receive(.init(LeaseTerm(1), .heartbeat(sequence: 1)), from: "a", at: at(1), log: .zero)
    _ = voter.takeDirectives()
    let asks: [ElectionMessage.Body] = [
      .preVoteRequest(round: 1, log: .zero, priority: 9),
      .voteRequest(log: .zero, isHandOver: false),
    ]
    for body in asks {
      voter.receive(.init(LeaseTerm(5), body), from: "c", at: at(1.99), log: .zero)
      #expect(voter.record.term == LeaseTerm(1), "it does not even take the term")
    }
    #expect(
      voter.takeDirectives() == [
        .send(.init(LeaseTerm(1), .preVoteReply(round: 1, isGranted: false)), to: "c"),
        .send(.init(LeaseTerm(1), .voteReply(isGranted: false)), to: "c"),
      ]
    )
    // After a hand-over at once, and without one once nobody was heard for the time of a lease.
    voter.receive(
      .init(LeaseTerm(2), .voteRequest(log: .zero, isHandOver: true)),
      from: "c",
      at: at(1.99),
      log: .zero
    )
    #expect(voter.takeDirectives().contains(.fence(LeaseTerm(2))))
    voter.receive(.init(LeaseTerm(2), asks[0]), from: "a", at: at(2.01), log: .zero)
    #expect(
      voter.takeDirectives().last
        == .send(.init(LeaseTerm(2), .preVoteReply(round: 1, isGranted: true)), to: "a")
    )
  }

  /// It may have acknowledged a heartbeat before it was started anew.
  @Test func aVoterThatHasJustStartedVotesForNobody() {
    let record = ElectionRecord(term: LeaseTerm(3), vote: "c")
    for (seconds, isGranted) in [(0.99, false), (1.01, true)] {
      var voter = election("b", record: record)
      voter.receive(
        .init(LeaseTerm(3), .preVoteRequest(round: 4, log: .zero, priority: 0)),
        from: "a",
        at: at(seconds),
        log: .zero
      )
      #expect(
        voter.takeDirectives()
          == [.send(.init(LeaseTerm(3), .preVoteReply(round: 4, isGranted: isGranted)), to: "a")]
      )
    }
  }

  @Test func nobodyRaisesTheTermBeforeAMajorityWould() {
    var candidate = election()
    for tick in 0..<100 { candidate.tick(at: at(1 + Double(tick)), log: .zero) }
    #expect(candidate.record.term == .zero)
    let asked = candidate.takeDirectives()
    #expect(asked.count == 200)
    #expect(
      asked.allSatisfy {
        if case .send(let message, _) = $0, case .preVoteRequest = message.body { return true }
        return false
      }
    )
    // An answer to an earlier round does not count.
    candidate.receive(
      .init(.zero, .preVoteReply(round: candidate.round - 1, isGranted: true)),
      from: "b",
      at: at(200),
      log: .zero
    )
    #expect(candidate.record.term == .zero)
    candidate.receive(
      .init(.zero, .preVoteReply(round: candidate.round, isGranted: true)),
      from: "b",
      at: at(200),
      log: .zero
    )
    #expect(candidate.record.term == LeaseTerm(1))
    #expect(candidate.takeDirectives() == [.fence(LeaseTerm(1))])
  }

  @Test func theLeaseBeginsWithTheFirstAcknowledgedHeartbeat() {
    var leader = leader()
    leader.acknowledged = [:]
    #expect(leader.role == .leader && leader.deadline == nil)
    // A leader whom nobody answers gives up by itself.
    leader.tick(at: at(1.91), log: .zero)
    #expect(leader.role == .follower)
  }

  @Test func theLeaseEndsAMarginBeforeTheOthersMayVote() throws {
    var leader = leader()
    #expect(leader.role == .leader)
    // Sent at 1, acknowledged later: it counts from when it was sent.
    #expect(leader.deadline == at(1) + .milliseconds(900))
    _ = leader.takeDirectives()
    leader.tick(at: at(1.5), log: .zero)
    let beats = leader.takeDirectives()
    #expect(beats.count == 2)
    leader.receive(
      .init(
        LeaseTerm(1),
        .heartbeatReply(sequence: leader.sequence, log: .zero, isCandidate: false)
      ),
      from: "c",
      at: at(1.6),
      log: .zero
    )
    #expect(leader.deadline == at(1.5) + .milliseconds(900))
    // An answer of another term, or to nothing that was sent, does not prolong it.
    leader.tick(at: at(2), log: .zero)
    for (term, sequence) in [(LeaseTerm(0), leader.sequence), (LeaseTerm(1), leader.sequence + 1)] {
      leader.receive(
        .init(term, .heartbeatReply(sequence: sequence, log: .zero, isCandidate: true)),
        from: "b",
        at: at(2),
        log: .zero
      )
    }
    #expect(leader.deadline == at(1.5) + .milliseconds(900))
    leader.tick(at: at(2.41), log: .zero)
    #expect(leader.role == .follower)
    #expect(leader.takeDirectives().contains(.deposed(LeaseTerm(1))))
    #expect(leader.deadline == nil)
  }

  @Test func aLaterTermDeposes() {
    var leader = leader()
    _ = leader.takeDirectives()
    leader.receive(.init(LeaseTerm(4), .heartbeat(sequence: 1)), from: "c", at: at(1.2), log: .zero)
    #expect(leader.role == .follower && leader.leader == "c")
    #expect(
      leader.takeDirectives() == [
        .deposed(LeaseTerm(1)), .persist(ElectionRecord(term: LeaseTerm(4), vote: nil)),
        .send(
          .init(LeaseTerm(4), .heartbeatReply(sequence: 1, log: .zero, isCandidate: true)),
          to: "c"
        ),
      ]
    )
    // An earlier leader is told.
    leader.receive(.init(LeaseTerm(2), .heartbeat(sequence: 8)), from: "b", at: at(1.3), log: .zero)
    #expect(
      leader.takeDirectives()
        == [
          .send(
            .init(LeaseTerm(4), .heartbeatReply(sequence: 0, log: .zero, isCandidate: true)),
            to: "b"
          )
        ]
    )
    #expect(leader.leader == "c")
  }

  @Test func aHigherPriorityIsPreferred() {
    var voter = election("b", priority: 5)
    for (time, isGranted) in [(1.0, false), (1.5, true), (2.6, false)] {
      voter.receive(
        .init(.zero, .preVoteRequest(round: 1, log: .zero, priority: 1)),
        from: "a",
        at: at(time),
        log: .zero
      )
      #expect(
        voter.takeDirectives().contains(
          .send(.init(.zero, .preVoteReply(round: 1, isGranted: isGranted)), to: "a")
        ),
        "\(time)"
      )
      if !isGranted {
        voter.tick(at: at(time), log: .zero)
        #expect(voter.takeDirectives().count == 2, "it campaigns itself at once")
      }
    }
    // A more advanced log counts for more.
    voter.receive(
      .init(.zero, .preVoteRequest(round: 1, log: log(1, 1), priority: 1)),
      from: "a",
      at: at(4),
      log: .zero
    )
    #expect(
      voter.takeDirectives() == [
        .send(.init(.zero, .preVoteReply(round: 1, isGranted: true)), to: "a")
      ]
    )
  }

  @Test func theOnlyVoterLeadsForGood() {
    var alone = election(voters: ["a"], record: ElectionRecord(term: LeaseTerm(4), vote: "a"))
    alone.tick(at: at(0), log: log(4, 9))
    #expect(alone.takeDirectives() == [.fence(LeaseTerm(5))])
    alone.fenced(LeaseTerm(5), log: log(4, 9), at: at(0))
    #expect(
      alone.takeDirectives() == [
        .persist(ElectionRecord(term: LeaseTerm(5), vote: "a")), .elected(LeaseTerm(5)),
      ]
    )
    alone.tick(at: at(1000), log: log(5, 10))
    #expect(alone.role == .leader && alone.deadline == nil && alone.isAlone)
  }

  @Test(arguments: ["a", "d"])
  func whoMayNotLeadNeverCampaigns(name: String) {
    var node = election(name, isCandidate: name != "a")
    for tick in 0..<50 { node.tick(at: at(Double(tick)), log: .zero) }
    #expect(node.takeDirectives() == [])
  }

  @Test func messagesSurviveTheWire() {
    let bodies: [ElectionMessage.Body] = [
      .preVoteRequest(round: 7, log: log(1, 2), priority: -3),
      .preVoteReply(round: 7, isGranted: true), .voteRequest(log: log(3, 4), isHandOver: true),
      .voteReply(isGranted: false), .heartbeat(sequence: 9),
      .heartbeatReply(sequence: 9, log: log(5, 6), isCandidate: true), .timeoutNow,
      .handOverRequest,
    ]
    var random = UInt64(1)
    for body in bodies {
      let message = ElectionMessage(LeaseTerm(11), body)
      let bytes = message.encoded()
      #expect(ElectionMessage(bytes) == message)
      for count in 0..<bytes.count { #expect(ElectionMessage(Array(bytes[..<count])) == nil) }
      #expect(ElectionMessage(bytes + [0]) == nil)
      for _ in 0..<200 {
        random = random &* 6_364_136_223_846_793_005 &+ 1
        var damaged = bytes
        damaged[Int(random >> 33) % bytes.count] = UInt8(truncatingIfNeeded: random >> 24)
        if let read = ElectionMessage(damaged) { #expect(read.encoded() == damaged) }
      }
    }
  }
}
