import Synchronization

@testable import Store

/// A clock that stands still until it is told otherwise.
final class TestClock: WallClock {
  private let now: Atomic<UInt64>

  init(_ milliseconds: UInt64 = 1_700_000_000_000) { now = Atomic(milliseconds) }

  var milliseconds: UInt64 { now.load(ordering: .relaxed) }
  func advance(_ milliseconds: UInt64) { now.add(milliseconds, ordering: .relaxed) }
}
