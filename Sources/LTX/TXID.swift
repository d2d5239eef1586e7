/// The number of a transaction within one database: 1 for the first, then each the next.
///
/// Zero stands for "no transaction yet" and never appears in a file.
package struct TXID: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }
  package init(_ value: UInt64) { self.rawValue = value }

  package static let zero = TXID(0)

  /// The transaction after this one; nil at the end of the range.
  package var next: TXID? {
    rawValue == .max ? nil : TXID(rawValue + 1)
  }

  package static func < (a: TXID, b: TXID) -> Bool { a.rawValue < b.rawValue }
}

extension TXID: CustomStringConvertible {
  /// Sixteen lower-case hexadecimal digits.
  package var description: String { hexadecimal(rawValue) }
}
