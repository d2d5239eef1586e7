import Synchronization

/// The buckets of all callers.
final class RateLimiter: Sendable {
  /// Buckets of one kind; more than this many callers within a few seconds is an attack from many addresses,
  /// and the memory of it must not grow without end.
  static let maximumBuckets = 20_000

  private let limits: RateLimits
  private let buckets = Mutex<[RateLimits.Kind: [String: TokenBucket]]>([:])

  init(_ limits: RateLimits) { self.limits = limits }

  func limits(_ kind: RateLimits.Kind) -> Bool { limits[kind] != nil }

  /// - Returns: nil when the request may go on, else whole seconds after which another try makes sense.
  func refusal(_ kind: RateLimits.Kind, _ caller: String, now: Double) -> Int? {
    guard let limit = limits[kind] else { return nil }
    return buckets.withLock { buckets in
      if buckets[kind, default: [:]].count >= Self.maximumBuckets,
        buckets[kind]?[caller] == nil
      {
        for (other, var bucket) in buckets[kind] ?? [:] where bucket.isFull(limit, now: now) {
          buckets[kind]?[other] = nil
        }
        // Everybody is in the midst of a burst: the new one has to wait.
        if buckets[kind, default: [:]].count >= Self.maximumBuckets { return 1 }
      }
      let new = TokenBucket(limit, now: now)
      guard let wait = buckets[kind, default: [:]][caller, default: new].take(limit, now: now)
      else {
        return nil
      }
      return max(1, Int(wait.rounded(.up)))
    }
  }
}
