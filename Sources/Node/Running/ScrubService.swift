import Logging
import NIOPosix
import ServiceLifecycle
import Store

/// Drives the scrub of the store at its configured rate.
struct ScrubService: Service {
  /// Slices of a second: what is read in one go, before others get the disk again.
  private static let slices: Int64 = 10
  /// How often open questions are looked at again, and whether a pass is due.
  private static let settling = Duration.seconds(2)

  let scrubber: Scrubber
  /// Bytes in a second.
  let rate: Int64
  let pool: NIOThreadPool
  let logger: Logger

  func run() async throws {
    try await CancelledAtShutdown { try await rounds() }.run()
  }

  private func rounds() async throws {
    var settled = ContinuousClock.now
    while true {
      let began = ContinuousClock.now
      let isDue = began - settled >= Self.settling
      if isDue { settled = began }
      let bytes = await round(settling: isDue)
      let pause = bytes == 0 ? Self.settling : Self.time(for: bytes, rate: rate)
      try await Task.sleep(until: began + pause, clock: .continuous)
    }
  }

  /// Reads one slice; the bytes it had.
  private func round(settling: Bool) async -> Int {
    let scrubber = scrubber
    let budget = Int(clamping: max(1, rate / Self.slices))
    do {
      return try await pool.runIfActive {
        if settling { try scrubber.settle() }
        var bytes = 0
        while bytes < budget {
          let more = try scrubber.step(maxBytes: budget - bytes)
          if more == 0 { break }
          bytes += more
        }
        return bytes
      }
    } catch {
      logger.error("the scrub cannot read a database", metadata: ["error": "\(error)"])
      return 0
    }
  }

  /// How long the bytes take at the rate.
  static func time(for bytes: Int, rate: Int64) -> Duration {
    .nanoseconds(Int64(min(Double(bytes) / Double(max(1, rate)) * 1e9, 3600e9)))
  }
}
