/// Durations in nanoseconds, and what is said of them.
struct Samples {
  private var values: [Int64] = []

  init() { values.reserveCapacity(1 << 16) }

  mutating func add(_ value: Int64) { values.append(value) }

  func summary(seconds: Double) -> Summary {
    let sorted = values.sorted()
    func percentile(_ part: Double) -> Double {
      guard !sorted.isEmpty else { return 0 }
      let rank = Int((Double(sorted.count) * part).rounded(.up)) - 1
      return Double(sorted[min(max(rank, 0), sorted.count - 1)])
    }
    return Summary(
      count: sorted.count,
      seconds: seconds,
      p50: percentile(0.5),
      p99: percentile(0.99)
    )
  }
}

/// What one loop came to; durations in nanoseconds.
struct Summary: Codable {
  var count = 0
  var seconds = 0.0
  var p50 = 0.0
  var p99 = 0.0

  var rate: Double { seconds > 0 ? Double(count) / seconds : 0 }
}
