import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Replication

/// When the action of a waker runs.
@Suite struct LoopWakerTests {
  /// What a waker's action has seen.
  private final class Sights: Sendable {
    let value = Atomic(0)
    let seen = Atomic(0)
    let runs = Atomic(0)

    func look() {
      runs.add(1, ordering: .relaxed)
      seen.store(value.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
    }
  }

  private func waker(
    spacing: TimeAmount,
    _ sights: Sights,
    on group: MultiThreadedEventLoopGroup
  ) async throws -> LoopWaker {
    let loop = group.next()
    return try await loop.submit { LoopWaker(loop, spacing: spacing) { sights.look() } }.get()
  }

  /// Each wake is followed by a run, whatever the timer is doing at that moment.
  @Test(.timeLimit(.minutes(1))) func noWakeIsLost() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let sights = Sights()
    let waker = try await waker(spacing: .microseconds(50), sights, on: group)
    for value in 1...5_000 {
      sights.value.store(value, ordering: .sequentiallyConsistent)
      waker.wake(atOnce: value % 7 == 0)
      while sights.seen.load(ordering: .sequentiallyConsistent) < value { await Task.yield() }
    }
    try await group.shutdownGracefully()
  }

  /// Wakes that come densely share runs.
  @Test(.timeLimit(.minutes(1))) func streamsAreSpaced() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let sights = Sights()
    let waker = try await waker(spacing: .milliseconds(20), sights, on: group)
    let start = NIODeadline.now()
    while .now() < start + .milliseconds(200) {
      sights.value.add(1, ordering: .sequentiallyConsistent)
      waker.wake()
    }
    let value = sights.value.load(ordering: .sequentiallyConsistent)
    while sights.seen.load(ordering: .sequentiallyConsistent) < value { await Task.yield() }
    let most = (NIODeadline.now() - start).nanoseconds / 20_000_000 + 2
    #expect(Int64(sights.runs.load(ordering: .relaxed)) <= most)
    try await group.shutdownGracefully()
  }

  /// Where somebody waits nothing is held back, neither by the last run nor by a wake that is.
  @Test(.timeLimit(.minutes(1))) func urgencyDoesNotWait() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let sights = Sights()
    let waker = try await waker(spacing: .minutes(2), sights, on: group)
    for (value, isUrgent) in [(1, false), (2, true), (3, true)] {
      sights.value.store(value, ordering: .sequentiallyConsistent)
      if value == 3 { waker.wake() }
      waker.wake(atOnce: isUrgent)
      while sights.seen.load(ordering: .sequentiallyConsistent) < value { await Task.yield() }
    }
    // A wake that is held back does not keep the group from its end.
    waker.wake()
    try await group.shutdownGracefully()
    #expect(sights.runs.load(ordering: .relaxed) == 3)
  }
}
