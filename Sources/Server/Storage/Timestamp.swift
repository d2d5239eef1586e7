import Foundation

/// Times as SQLite writes them, `2026-01-31 08:15:00.250` in UTC: texts that compare as times do.
enum Timestamp {
  private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

  /// - Parameter seconds: since the epoch.
  static func text(_ seconds: Double) -> String {
    String(json(at: seconds).dropLast()).replacingOccurrences(of: "T", with: " ")
  }

  /// As JSON has it (RFC 3339).
  static func json(at seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds).formatted(style)
  }

  /// From the database's form to JSON's; what another server wrote in another form stays as it is.
  static func json(_ text: String) -> String {
    var bytes = Array(text.utf8)
    guard bytes.count == 23, bytes[10] == UInt8(ascii: " "), bytes[19] == UInt8(ascii: ".") else {
      return text
    }
    bytes[10] = UInt8(ascii: "T")
    bytes.append(UInt8(ascii: "Z"))
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Seconds since the epoch; nil for another form.
  static func seconds(_ text: String) -> Double? {
    try? style.parse(json(text)).timeIntervalSince1970
  }
}
