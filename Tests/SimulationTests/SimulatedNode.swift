@testable import Lease

/// A node of the simulated world: an election, a log, and a disk that loses what was not waited for.
struct SimulatedNode {
  let name: String
  let configuration: Election.Configuration
  /// Parts per million by which its clock is fast.
  let drift: Int
  /// What its clock shows at the beginning, in microseconds.
  let offset: Int

  var election: Election
  var life = 0
  var isUp = true
  /// Microseconds of real time until which the process is stopped.
  var pausedUntil = 0
  var disk = noRecord
  /// The term it started in: that on the disk, or that of its log.
  var loaded = LeaseTerm.zero
  var stored = noRecord
  /// What the election waits for before it goes on.
  var writing: ElectionRecord?
  var fencing: LeaseTerm?
  /// What it has yet to do, and what has come for it meanwhile.
  var remaining: [Election.Directive] = []
  var inbox: [Event] = []
  var log = SimulatedLog()
  var store: SimulatedStore
  /// The latest transaction of each database that a reader may have seen since its start.
  var seen: [Int]
  /// How many entries it knows as committed and has applied.
  var applied = 0
  /// The highest term in anything it has sent.
  var told = LeaseTerm.zero

  // While it is the primary.
  var reign: LeaseTerm?
  var reignSince = 0
  var match: [Int] = []
  var next: [Int] = []
  var sentAt: [Int] = []

  static let noRecord = ElectionRecord(term: .zero, vote: nil)
  private static let epoch = LeaseClock.Instant.now

  var isBusy: Bool { writing != nil || fencing != nil }

  /// Whether the election has given it the lease, which may have run out.
  var isHeld: Bool {
    election.role == .leader && (election.isAlone || election.deadline != nil)
  }

  /// What its clock shows.
  func now(_ time: Int) -> LeaseClock.Instant {
    let shown = offset + time + time * drift / 1_000_000
    return Self.epoch + .microseconds(shown)
  }

  /// Whether it believes that it may act as the primary.
  func holdsLease(_ time: Int) -> Bool {
    guard isUp, isHeld else { return false }
    guard let deadline = election.deadline else { return true }
    return now(time) < deadline
  }
}
