/// The name of an LTX file: both transaction numbers as sixteen lower-case hexadecimal digits.
package struct LTXFileName: Hashable, Sendable {
  package var minTXID: TXID
  package var maxTXID: TXID

  package init(minTXID: TXID, maxTXID: TXID) {
    self.minTXID = minTXID
    self.maxTXID = maxTXID
  }

  /// Nil unless the name has exactly the form `0000000000000001-0000000000000001.ltx` and a range
  /// of transactions that starts at 1 or later.
  package init?(_ name: String) {
    let bytes = Array(name.utf8)
    guard bytes.count == 37, bytes[16] == UInt8(ascii: "-"),
      bytes[33...].elementsEqual(".ltx".utf8),
      let min = Self.number(bytes[..<16]), let max = Self.number(bytes[17..<33]),
      min > 0, min <= max
    else { return nil }
    self.init(minTXID: TXID(min), maxTXID: TXID(max))
  }

  private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(digit - 48)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(digit - 87)
      default: return nil
      }
    }
    return value
  }
}

extension LTXFileName: CustomStringConvertible {
  package var description: String { "\(minTXID)-\(maxTXID).ltx" }
}
