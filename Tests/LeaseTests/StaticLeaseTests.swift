import Lease
import Testing

@Suite struct StaticLeaseTests {
  @Test func theNodeAtThePrimaryAddressHoldsTheLease() {
    let lease = StaticLease(
      name: "node1",
      advertise: "node1:20203",
      primary: "node1:20203",
      term: LeaseTerm(7)
    )
    #expect(lease.state.isHeldHere)
    #expect(lease.state.holder == LeaseHolder(name: "node1", address: "node1:20203"))
    #expect(lease.state.term == LeaseTerm(7))
    #expect(lease.state.deadline == nil)
    #expect(lease.state.mayCommit(at: LeaseClock.system.now, margin: .seconds(1)))
  }

  @Test(arguments: ["node2:20203", nil])
  func anyOtherNodeIsAReplica(advertise: String?) {
    let lease = StaticLease(
      name: "node2",
      advertise: advertise,
      primary: "node1:20203",
      term: .zero
    )
    #expect(!lease.state.isHeldHere)
    #expect(lease.state.holder == LeaseHolder(name: nil, address: "node1:20203"))
    #expect(!lease.state.mayCommit(at: LeaseClock.system.now, margin: .zero))
  }

  @Test(.timeLimit(.minutes(1)))
  func eachCallerGetsTheState() async {
    let lease = StaticLease(soleNode: "only", address: "local", term: LeaseTerm(1))
    for _ in 0..<2 {
      var states = lease.states().makeAsyncIterator()
      #expect(await states.next() == lease.state)
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func runEndsWithItsTask() async throws {
    let lease = StaticLease(soleNode: "only", address: "local", term: LeaseTerm(1))
    let task = Task { try await lease.run() }
    task.cancel()
    try await task.value
  }

  @Test func promotionAndDemotionAreRefusedUnlessTheyChangeNothing() async throws {
    let primary = StaticLease(name: "a", advertise: "a:1", primary: "a:1", term: LeaseTerm(1))
    let replica = StaticLease(name: "b", advertise: "b:1", primary: "a:1", term: LeaseTerm(1))
    try await primary.promote()
    try await replica.demote(to: nil)
    await #expect(throws: LeaseError.self) { try await replica.promote() }
    await #expect(throws: LeaseError.self) { try await primary.demote(to: "b") }
  }

  @Test func aHolderStopsBeforeItsDeadline() {
    let now = LeaseClock.system.now
    let state = LeaseState(
      holder: LeaseHolder(name: "a", address: "a:1"),
      term: LeaseTerm(1),
      isHeldHere: true,
      deadline: now + .seconds(2)
    )
    #expect(state.mayCommit(at: now, margin: .milliseconds(500)))
    #expect(!state.mayCommit(at: now + .milliseconds(1500), margin: .milliseconds(500)))
    #expect(!state.mayCommit(at: now + .seconds(3), margin: .zero))
  }
}
