import Foundation

/// Where a server's time comes from.
package struct ServerClock: Sendable {
  /// Seconds since the epoch.
  var now: @Sendable () -> Double
  /// Seconds on a clock that only goes forward.
  var uptime: @Sendable () -> Double

  package static let system = ServerClock(
    now: { Date().timeIntervalSince1970 },
    uptime: { ProcessInfo.processInfo.systemUptime }
  )
}
