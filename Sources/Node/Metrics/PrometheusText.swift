/// The exposition format: names made fit, label values escaped, numbers spelled out.
struct PrometheusText {
  private(set) var text = ""

  mutating func family(_ name: String, type: String, help: String?) {
    if let help { text += "# HELP \(name) \(Self.escapedHelp(help))\n" }
    text += "# TYPE \(name) \(type)\n"
  }

  /// - Parameter labels: as `labels(_:)` makes them.
  mutating func sample(_ name: String, _ labels: String, _ value: Double) {
    text += name + (labels.isEmpty ? "" : "{\(labels)}") + " \(Self.number(value))\n"
  }

  mutating func histogram(_ name: String, _ labels: String, _ series: HistogramSeries) {
    let (cumulative, count, sum) = series.snapshot()
    let prefix = labels.isEmpty ? "" : labels + ","
    for (bound, value) in zip(series.bounds, cumulative) {
      sample("\(name)_bucket", "\(prefix)le=\"\(Self.number(bound))\"", Double(value))
    }
    sample("\(name)_bucket", "\(prefix)le=\"+Inf\"", Double(count))
    sample("\(name)_sum", labels, sum)
    sample("\(name)_count", labels, Double(count))
  }

  /// A family with one or no label whose samples are at hand.
  mutating func gauge(_ name: String, help: String, label: String, _ samples: [(String, Double)]) {
    guard !samples.isEmpty else { return }
    family(name, type: "gauge", help: help)
    for (value, number) in samples { sample(name, Self.labels([(label, value)]), number) }
  }

  mutating func gauge(_ name: String, help: String, _ value: Double) {
    family(name, type: "gauge", help: help)
    sample(name, "", value)
  }

  mutating func counter(_ name: String, help: String, _ value: Double) {
    family(name, type: "counter", help: help)
    sample(name, "", value)
  }

  mutating func append(_ other: String) { text += other }

  /// Letters, digits and `_`, not beginning with a digit.
  static func name(_ label: String) -> String {
    var output = ""
    for scalar in label.unicodeScalars {
      switch scalar {
      case "a"..."z", "A"..."Z", "_": output.unicodeScalars.append(scalar)
      case "0"..."9" where !output.isEmpty: output.unicodeScalars.append(scalar)
      default: output += "_"
      }
    }
    return output.isEmpty ? "_" : output
  }

  /// `a="x",b="y"`, sorted, so that the same labels are the same series.
  static func labels(_ dimensions: [(String, String)]) -> String {
    dimensions.map { (name($0.0), escapedLabel($0.1)) }
      .sorted { $0.0 < $1.0 }
      .map { "\($0.0)=\"\($0.1)\"" }
      .joined(separator: ",")
  }

  /// A label value beyond this is not a name of anything.
  private static let maximumLabel = 256

  private static func escapedLabel(_ value: String) -> String {
    var output = ""
    for scalar in value.unicodeScalars.prefix(maximumLabel) {
      switch scalar {
      case "\\": output += "\\\\"
      case "\"": output += "\\\""
      case "\n": output += "\\n"
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output
  }

  private static func escapedHelp(_ text: String) -> String {
    var output = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": output += "\\\\"
      case "\n": output += "\\n"
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output
  }

  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    if value == value.rounded(), abs(value) < 1e15 { return "\(Int64(value))" }
    return "\(value)"
  }
}
