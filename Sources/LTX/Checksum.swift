/// A checksum as LTX stores it: CRC-64/ISO with bit 63 set, so that zero can mean "none".
///
/// The checksum of a database is the exclusive or of the checksums of its pages (without the lock
/// page), again with bit 63 set; adding and removing a page are therefore the same operation.
package struct Checksum: RawRepresentable, Hashable, Sendable {
  /// Bit 63: marks a value as a checksum.
  package static let flag: UInt64 = 1 << 63

  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// No checksum: what a file without checksums carries.
  package static let none = Checksum(rawValue: 0)

  /// The checksum of a database without pages.
  package static let empty = Checksum(rawValue: flag)

  /// Bit 63 is set, as it must be in every checksum that is present.
  package var isFlagged: Bool { rawValue & Self.flag != 0 }

  /// The same database with a page of checksum `page` added, or removed where it was present.
  package func toggling(_ page: Checksum) -> Checksum {
    Checksum(rawValue: (rawValue ^ page.rawValue) | Self.flag)
  }
}

extension Checksum: CustomStringConvertible {
  /// Sixteen lower-case hexadecimal digits.
  package var description: String { hexadecimal(rawValue) }
}
