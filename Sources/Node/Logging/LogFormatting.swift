import Logging

/// One line of log, as text for people or as JSON for machines.
///
/// Text: `2026-01-02T03:04:05.678Z info  database imported database=app.db note="two words"`.
/// JSON: one object with `time`, `level`, `message`, `label` and the metadata under its own names;
/// a name that is taken gets a `_` before it. Whatever comes from outside is quoted or escaped, so
/// that nobody can forge a line.
enum LogFormatting {
  /// Bytes; what is longer is cut, since a log line is not the place for it.
  static let maximumValue = 4096

  static func text(
    time: String,
    level: Logger.Level,
    message: String,
    metadata: Logger.Metadata
  ) -> String {
    let name = level.rawValue
    var line = time + " " + name + String(repeating: " ", count: max(1, 8 - name.utf8.count))
    line += escaped(message, quote: false)
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
      line += " " + escaped(key, quote: false) + "=" + textValue(value)
    }
    return line + "\n"
  }

  static func json(
    time: String,
    level: Logger.Level,
    label: String,
    message: String,
    metadata: Logger.Metadata
  ) -> String {
    var line = "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"label\":"
    line += jsonString(label) + ",\"message\":" + jsonString(message)
    let taken: Set<String> = ["time", "level", "label", "message"]
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
      line += "," + jsonString(taken.contains(key) ? "_" + key : key) + ":" + jsonValue(value)
    }
    return line + "}\n"
  }

  private static func textValue(_ value: Logger.MetadataValue) -> String {
    let text = clipped("\(value)")
    let needsQuotes =
      text.isEmpty || text.unicodeScalars.contains { $0 == " " || $0 == "\"" || $0 == "=" }
    return needsQuotes ? "\"" + escaped(text, quote: true) + "\"" : escaped(text, quote: false)
  }

  private static func jsonValue(_ value: Logger.MetadataValue) -> String {
    switch value {
    case .string(let text): jsonString(text)
    case .stringConvertible(let value as any BinaryInteger): "\(value)"
    case .stringConvertible(let value as Bool): "\(value)"
    case .stringConvertible(let value): jsonString("\(value)")
    case .array(let values): "[" + values.map(jsonValue).joined(separator: ",") + "]"
    case .dictionary(let values):
      "{"
        + values.sorted { $0.key < $1.key }
        .map { jsonString($0.key) + ":" + jsonValue($0.value) }.joined(separator: ",") + "}"
    }
  }

  private static func jsonString(_ text: String) -> String {
    "\"" + escaped(clipped(text), quote: true) + "\""
  }

  private static func clipped(_ text: String) -> String {
    guard text.utf8.count > maximumValue else { return text }
    return String(decoding: text.utf8.prefix(maximumValue), as: UTF8.self) + "…"
  }

  /// Control characters, and where asked quotes and backslashes, as JSON escapes them.
  private static func escaped(_ text: String, quote: Bool) -> String {
    var output = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"" where quote: output += "\\\""
      case "\\" where quote: output += "\\\\"
      case "\n": output += "\\n"
      case "\r": output += "\\r"
      case "\t": output += "\\t"
      case _
      where scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value)
        || scalar.value == 0x2028 || scalar.value == 0x2029:
        let digits = String(scalar.value, radix: 16)
        output += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output
  }
}
