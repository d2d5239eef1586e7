/// The rounds of one figure.
struct Spread {
  private var values: [Double] = []

  mutating func add(_ value: Double) { values.append(value) }

  var median: Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// As `12,345 (11,900–12,800)`; a single round has no spread.
  ///
  /// - Parameter unit: what the values are divided by.
  func text(decimals: Int = 0, unit: Double = 1) -> String {
    guard let least = values.min(), let most = values.max() else { return "-" }
    let figures = [median, least, most].map { Figure.text($0 / unit, decimals: decimals) }
    return values.count > 1 ? "\(figures[0]) (\(figures[1])–\(figures[2]))" : figures[0]
  }
}

/// The rounds of a loop: its rate and latencies.
struct LoopSpread {
  var rate = Spread()
  var p50 = Spread()
  var p99 = Spread()

  mutating func add(_ summary: Summary) {
    rate.add(summary.rate)
    p50.add(summary.p50)
    p99.add(summary.p99)
  }

  var microseconds: String {
    Figure.text(p50.median / 1e3, decimals: 0) + " / " + Figure.text(p99.median / 1e3, decimals: 0)
  }
}
