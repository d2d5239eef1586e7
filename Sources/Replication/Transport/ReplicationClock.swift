import Foundation

/// The clocks of this room, handed in so that a test decides what time it is.
package struct ReplicationClock: Sendable {
  /// Monotonic, counting suspension (`CLOCK_BOOTTIME` on Linux).
  package var now: @Sendable () -> ContinuousClock.Instant
  /// Milliseconds since 1970.
  package var wallClock: @Sendable () -> UInt64
  /// Throws `CancellationError` when the task is cancelled.
  package var sleep: @Sendable (Duration) async throws -> Void

  package init(
    now: @escaping @Sendable () -> ContinuousClock.Instant,
    wallClock: @escaping @Sendable () -> UInt64,
    sleep: @escaping @Sendable (Duration) async throws -> Void
  ) {
    self.now = now
    self.wallClock = wallClock
    self.sleep = sleep
  }

  package static let system = ReplicationClock(
    now: { ContinuousClock.now },
    wallClock: { UInt64(max(0, Date().timeIntervalSince1970 * 1_000)) },
    sleep: { try await ContinuousClock().sleep(for: $0) }
  )
}
