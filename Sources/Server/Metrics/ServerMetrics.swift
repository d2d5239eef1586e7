import Synchronization

/// The numbers of a server in Prometheus' text format 0.0.4.
///
/// Names are those that operators' rules and dashboards use; a family is there from the start, so that a rule over it
/// has something to evaluate. Label values are route patterns, methods, statuses and words of this
/// program: their number is bounded by the program and not by its clients.
final class ServerMetrics: Sendable {
  enum Kind: String { case counter, gauge, histogram }

  struct Family: Sendable {
    let kind: Kind
    let help: String
    var bounds: [Double] = []
  }

  private struct Histogram: Sendable {
    private(set) var counts: [UInt64]
    private(set) var sum = 0.0
    private(set) var count: UInt64 = 0

    init(slots: Int) { counts = Array(repeating: 0, count: slots) }

    mutating func add(_ value: Double, _ slot: Int) {
      counts[slot] += 1
      sum += value
      count += 1
    }
  }

  private struct State: Sendable {
    var values: [String: [String: Double]] = [:]
    var histograms: [String: [String: Histogram]] = [:]
  }

  private let families: [String: Family]
  private let state: Mutex<State>

  init(_ families: [String: Family] = MetricNames.families) {
    self.families = families
    var state = State()
    for (name, family) in families
    where family.kind != .histogram && !MetricNames.labelled.contains(name) {
      state.values[name] = ["": 0]
    }
    self.state = Mutex(state)
  }

  func add(_ name: String, _ labels: KeyValuePairs<String, String> = [:], by amount: Double = 1) {
    let labels = Self.text(labels)
    state.withLock { $0.values[name, default: [:]][labels, default: 0] += amount }
  }

  func set(_ name: String, _ labels: KeyValuePairs<String, String> = [:], to value: Double) {
    let labels = Self.text(labels)
    state.withLock { $0.values[name, default: [:]][labels] = value }
  }

  func observe(_ name: String, _ labels: KeyValuePairs<String, String>, _ value: Double) {
    let bounds = families[name]?.bounds ?? []
    let labels = Self.text(labels)
    let slot = bounds.firstIndex { value <= $0 } ?? bounds.count
    state.withLock { state in
      state.histograms[name, default: [:]][labels, default: Histogram(slots: bounds.count + 1)]
        .add(value, slot)
    }
  }

  /// All families in the order of their names.
  func text() -> String {
    let (values, histograms) = state.withLock { ($0.values, $0.histograms) }
    var output = ""
    for (name, family) in families.sorted(by: { $0.key < $1.key }) {
      output += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.kind.rawValue)\n"
      for (labels, value) in (values[name] ?? [:]).sorted(by: { $0.key < $1.key }) {
        output += Self.line(name, labels, value)
      }
      for (labels, histogram) in (histograms[name] ?? [:]).sorted(by: { $0.key < $1.key }) {
        output += Self.lines(name, labels, family.bounds, histogram)
      }
    }
    return output
  }

  private static func lines(
    _ name: String,
    _ labels: String,
    _ bounds: [Double],
    _ histogram: Histogram
  ) -> String {
    var output = ""
    var sum: UInt64 = 0
    let prefix = labels.isEmpty ? "" : labels + ","
    for (bound, count) in zip(bounds, histogram.counts) {
      sum += count
      output += line(name + "_bucket", prefix + "le=\"\(number(bound))\"", Double(sum))
    }
    return output + line(name + "_bucket", prefix + "le=\"+Inf\"", Double(histogram.count))
      + line(name + "_sum", labels, histogram.sum)
      + line(name + "_count", labels, Double(histogram.count))
  }

  private static func line(_ name: String, _ labels: String, _ value: Double) -> String {
    name + (labels.isEmpty ? "" : "{\(labels)}") + " \(number(value))\n"
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
  }

  private static func text(_ labels: KeyValuePairs<String, String>) -> String {
    var output = ""
    for (name, value) in labels {
      if !output.isEmpty { output += "," }
      output += name + "=\"" + value + "\""
    }
    return output
  }
}
