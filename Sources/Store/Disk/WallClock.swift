/// The time of day, for timestamps and retention by age; never for deadlines.
package protocol WallClock: Sendable {
  /// Milliseconds since the epoch.
  var milliseconds: UInt64 { get }
}
