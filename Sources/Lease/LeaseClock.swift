/// The clock that deadlines are kept on, handed in so that a test decides what time it is.
///
/// `ContinuousClock` is `CLOCK_BOOTTIME` on Linux: it never jumps and it goes on while the machine
/// is suspended. A wall clock could be set back, and a clock that stops in suspension would let a
/// node wake up and believe that its lease still has seconds to run.
package struct LeaseClock: Sendable {
  package typealias Instant = ContinuousClock.Instant

  private let read: @Sendable () -> Instant
  private let wait: @Sendable (Instant) async throws -> Void

  package init(
    now: @escaping @Sendable () -> Instant,
    sleepUntil: @escaping @Sendable (Instant) async throws -> Void
  ) {
    self.read = now
    self.wait = sleepUntil
  }

  package static let system = LeaseClock(
    now: { ContinuousClock.now },
    sleepUntil: { try await ContinuousClock().sleep(until: $0) }
  )

  package var now: Instant { read() }
  /// - Throws: `CancellationError` when the task is cancelled first.
  package func sleep(until deadline: Instant) async throws { try await wait(deadline) }
}
