import Foundation

/// Numbers as people read them.
enum Figure {
  static func text(_ value: Double, decimals: Int) -> String {
    let plain = String(format: "%.\(decimals)f", value)
    let parts = plain.split(separator: ".", omittingEmptySubsequences: false)
    var digits = ""
    let whole = Array(parts[0])
    for (index, digit) in whole.enumerated() {
      if index > 0, (whole.count - index) % 3 == 0 { digits += "," }
      digits.append(digit)
    }
    return parts.count > 1 ? digits + "." + parts[1] : digits
  }

  static func percent(_ part: Double, of whole: Double) -> String {
    whole > 0 ? String(format: "%.0f %%", part / whole * 100) : "-"
  }
}
