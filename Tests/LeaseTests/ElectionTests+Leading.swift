import Testing

@testable import Lease

/// Who follows a leader, and how it gives its lease away.
extension ElectionTests {
  @Test func aLeaderIsFollowedByThoseThatHaveAnEntryOfItsTerm() {
    var leader = leader()
    #expect(!leader.isFollowed)
    func hear(_ log: LogPosition, from voter: String) {
      leader.receive(
        .init(LeaseTerm(1), .heartbeatReply(sequence: 1, log: log, isCandidate: true)),
        from: voter,
        at: at(1.05),
        log: .zero
      )
    }
    hear(log(0, 9), from: "c")
    #expect(!leader.isFollowed)
    hear(log(1, 10), from: "d")
    #expect(!leader.isFollowed)
    hear(log(1, 10), from: "c")
    #expect(leader.isFollowed)
    leader.resign(at: at(1.06))
    #expect(!leader.isFollowed)
  }

  @Test func aLeaderThatHandsOverIsNoneAnyMore() {
    var leader = leader()
    _ = leader.takeDirectives()
    // Not to one that is no voter, nor by itself to one that would not take it.
    #expect(leader.handOver(to: "d", at: at(1.1)) == nil)
    leader.receive(
      .init(LeaseTerm(1), .heartbeatReply(sequence: 1, log: log(9, 9), isCandidate: false)),
      from: "c",
      at: at(1.05),
      log: .zero
    )
    #expect(leader.successors(at: at(1.1)) == ["b"])
    #expect(leader.handOver(to: nil, at: at(1.1)) == "b")
    #expect(leader.role == .follower && leader.deadline == nil)
    #expect(
      leader.takeDirectives() == [
        .deposed(LeaseTerm(1)), .send(.init(LeaseTerm(1), .timeoutNow), to: "b"),
      ]
    )
    var successor = election("b")
    successor.receive(
      .init(LeaseTerm(1), .heartbeat(sequence: 1)),
      from: "a",
      at: at(1),
      log: .zero
    )
    _ = successor.takeDirectives()
    // Only the leader of the present term can give its lease to anybody.
    successor.receive(.init(.zero, .timeoutNow), from: "a", at: at(1.1), log: .zero)
    successor.receive(.init(LeaseTerm(1), .timeoutNow), from: "c", at: at(1.1), log: .zero)
    #expect(successor.takeDirectives() == [])
    successor.receive(.init(LeaseTerm(1), .timeoutNow), from: "a", at: at(1.1), log: .zero)
    #expect(successor.takeDirectives() == [.fence(LeaseTerm(2))])
    successor.fenced(LeaseTerm(2), log: log(1, 3), at: at(1.1))
    let request = ElectionMessage(LeaseTerm(2), .voteRequest(log: log(1, 3), isHandOver: true))
    #expect(successor.takeDirectives().contains(.send(request, to: "a")))
  }

  /// Once: it may be that nobody hears the one with the higher priority.
}
