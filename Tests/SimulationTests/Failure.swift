/// An invariant that did not hold, with what led to it.
struct Failure: Error, Sendable, CustomStringConvertible {
  var seed: UInt64
  var step: Int
  var message: String
  /// The last events, the latest at the end.
  var history: [String] = []

  var description: String {
    "seed \(seed), step \(step): \(message)"
      + (history.isEmpty ? "" : "\n  " + history.joined(separator: "\n  "))
  }
}
