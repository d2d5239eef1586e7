/// Durations and sizes as the configuration writes them.
///
/// Durations are those of Go's `time.ParseDuration`, which LiteFS uses: one or more numbers with a
/// unit each (`1h30m`, `1.5s`, `250ms`), or a plain `0`. Sizes are a number with `KiB`, `MiB`,
/// `GiB`, `TiB` (powers of 1024; the one-letter forms mean the same) or `KB`, `MB`, `GB`, `TB`
/// (powers of 1000), or plain bytes.
enum Quantities {
  private static let durationUnits: [(String, Double)] = [
    ("ns", 1), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9),
  ]

  private static let sizeUnits: [String: Double] = [
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "kb": 1e3,
    "m": 1_048_576, "mib": 1_048_576, "mb": 1e6,
    "g": 1_073_741_824, "gib": 1_073_741_824, "gb": 1e9,
    "t": 1_099_511_627_776, "tib": 1_099_511_627_776, "tb": 1e12,
  ]

  /// Beyond this (about 146 years) a duration is a slip of the pen.
  private static let maximumNanoseconds = Double(Int64.max) / 2

  static func duration(_ text: String) -> Duration? {
    if text == "0" { return .zero }
    var rest = Substring(text)
    var total = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      guard let value = takeNumber(&rest) else { return nil }
      let name = rest.prefix { !isNumberCharacter($0) }
      guard let unit = durationUnits.first(where: { $0.0 == name }) else { return nil }
      rest = rest.dropFirst(name.count)
      total += value * unit.1
      guard total <= maximumNanoseconds else { return nil }
    }
    return .nanoseconds(Int64(total))
  }

  static func size(_ text: String) -> Int64? {
    var rest = Substring(text)
    guard let value = takeNumber(&rest) else { return nil }
    let name = rest.drop { $0 == " " }.lowercased()
    guard let unit = sizeUnits[name] else { return nil }
    let total = value * unit
    guard total <= Double(Int64.max) / 2 else { return nil }
    return Int64(total)
  }

  private static func isNumberCharacter(_ character: Character) -> Bool {
    ("0"..."9").contains(character) || character == "."
  }

  private static func takeNumber(_ rest: inout Substring) -> Double? {
    let digits = rest.prefix(while: isNumberCharacter)
    guard digits.utf8.count <= 20, let value = Double(digits) else { return nil }
    rest = rest.dropFirst(digits.count)
    return value
  }

  /// The shortest exact form, for `config print`.
  static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = attoseconds / 1_000_000_000
    if nanoseconds == 0 {
      if seconds != 0, seconds % 3600 == 0 { return "\(seconds / 3600)h" }
      if seconds != 0, seconds % 60 == 0 { return "\(seconds / 60)m" }
      return "\(seconds)s"
    }
    var parts = seconds == 0 ? "" : "\(seconds)s"
    if nanoseconds % 1_000_000 == 0 {
      parts += "\(nanoseconds / 1_000_000)ms"
    } else {
      parts += "\(nanoseconds)ns"
    }
    return parts
  }

  static func text(bytes: Int64) -> String {
    for (unit, name) in [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
    where bytes != 0 && bytes % Int64(unit) == 0 {
      return "\(bytes / Int64(unit))\(name)"
    }
    return "\(bytes)"
  }
}
