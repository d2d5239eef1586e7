/// How long to wait before the next attempt: doubling, bounded, and spread by chance so that replicas
/// that lost the same primary do not come back all at once.
package struct Backoff: Sendable {
  package var shortest: Duration
  package var longest: Duration
  private var attempts = 0

  package init(shortest: Duration = .milliseconds(50), longest: Duration = .seconds(2)) {
    self.shortest = shortest
    self.longest = longest
  }

  /// Between half and all of the current step.
  package mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
    // 2^20 times any shortest delay of use is over any longest.
    let step = min(shortest * (1 << min(attempts, 20)), longest)
    attempts += 1
    return step * Double.random(in: 0.5...1, using: &random)
  }

  /// An attempt succeeded.
  package mutating func reset() { attempts = 0 }
}
