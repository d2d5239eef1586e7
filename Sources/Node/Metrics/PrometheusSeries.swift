import CoreMetrics
import Synchronization

/// A number that threads add to or set without a lock.
final class FloatingPointCell: Sendable {
  private let bits = Atomic<UInt64>(0)

  var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

  func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

  func add(_ amount: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let result = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
      if result.exchanged { return }
      old = result.original
    }
  }
}

/// What only grows.
final class CounterSeries: CounterHandler, FloatingPointCounterHandler {
  private let whole = Atomic<Int64>(0)
  private let fraction = FloatingPointCell()

  var value: Double { Double(whole.load(ordering: .relaxed)) + fraction.value }

  func increment(by amount: Int64) {
    guard amount > 0 else { return }
    whole.wrappingAdd(amount, ordering: .relaxed)
  }

  func increment(by amount: Double) {
    guard amount > 0 else { return }
    fraction.add(amount)
  }

  func reset() {
    whole.store(0, ordering: .relaxed)
    fraction.set(0)
  }
}

/// What goes up and down.
final class GaugeSeries: MeterHandler, RecorderHandler {
  private let cell = FloatingPointCell()

  var value: Double { cell.value }

  func set(_ value: Int64) { cell.set(Double(value)) }
  func set(_ value: Double) { cell.set(value) }
  func increment(by amount: Double) { cell.add(amount) }
  func decrement(by amount: Double) { cell.add(-amount) }
  func record(_ value: Int64) { cell.set(Double(value)) }
  func record(_ value: Double) { cell.set(value) }
}

/// A distribution over fixed buckets; a timer's is in seconds.
final class HistogramSeries: RecorderHandler, TimerHandler {
  /// Upper bounds, ascending; what is beyond the last counts only in the total.
  let bounds: [Double]
  private let buckets: [Cell]
  private let count = Atomic<Int64>(0)
  private let sum = FloatingPointCell()

  private final class Cell: Sendable {
    let count = Atomic<Int64>(0)
  }

  init(bounds: [Double]) {
    self.bounds = bounds
    buckets = bounds.map { _ in Cell() }
  }

  func record(_ value: Int64) { record(Double(value)) }

  func record(_ value: Double) {
    guard value.isFinite else { return }
    // A dozen comparisons; a search would not be faster.
    if let index = bounds.firstIndex(where: { value <= $0 }) {
      buckets[index].count.wrappingAdd(1, ordering: .relaxed)
    }
    count.wrappingAdd(1, ordering: .relaxed)
    sum.add(value)
  }

  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

  /// Cumulative counts for each bound, then the number and the sum of all values.
  func snapshot() -> (cumulative: [Int64], count: Int64, sum: Double) {
    var total: Int64 = 0
    let cumulative = buckets.map { cell in
      total += cell.count.load(ordering: .relaxed)
      return total
    }
    // A value recorded meanwhile may be in one number and not yet in the other.
    return (cumulative, max(total, count.load(ordering: .relaxed)), sum.value)
  }
}

/// Takes what has no room; see `PrometheusRegistry.maximumSeries`.
final class DiscardingSeries: CounterHandler, FloatingPointCounterHandler, MeterHandler,
  RecorderHandler, TimerHandler
{
  func increment(by: Int64) {}
  func increment(by: Double) {}
  func decrement(by: Double) {}
  func reset() {}
  func set(_: Int64) {}
  func set(_: Double) {}
  func record(_: Int64) {}
  func record(_: Double) {}
  func recordNanoseconds(_: Int64) {}
}
