/// Where a database stands: its last transaction and the checksum of all its pages after it.
///
/// Two copies of a database at equal positions are equal byte for byte.
package struct Position: Hashable, Sendable {
  package var txid: TXID
  package var checksum: Checksum

  package init(txid: TXID, checksum: Checksum) {
    self.txid = txid
    self.checksum = checksum
  }

  /// A database that has no transaction yet.
  package static let zero = Position(txid: .zero, checksum: .empty)
}

extension Position: CustomStringConvertible {
  /// `TXID/checksum`, both as sixteen hexadecimal digits: the form of `<db>-pos`.
  package var description: String { "\(txid)/\(checksum)" }
}

/// Sixteen lower-case hexadecimal digits, most significant first.
package func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
