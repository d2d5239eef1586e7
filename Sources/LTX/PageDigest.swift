/// The checksum of one page before the flag is set over its bit 63.
///
/// The flag hides one bit, which the checksum of a file made from its pages' needs; so this form
/// goes wherever a page's bytes shall be read only once.
package struct PageDigest: Hashable, Sendable {
  package let number: PageNumber
  /// CRC-64/ISO of the page number (four bytes, most significant first) and the page's bytes.
  package let crc: UInt64

  package init(_ number: PageNumber, _ bytes: UnsafeRawBufferPointer) {
    self.number = number
    crc = CRC64.digest(number, bytes)
  }

  /// What LTX stores and exchanges.
  package var checksum: Checksum { Checksum(rawValue: crc | Checksum.flag) }
}

extension Checksum {
  /// The checksum of a page: of its number (four bytes, most significant first) and its bytes.
  package static func page(
    _ number: PageNumber,
    _ bytes: UnsafeRawBufferPointer
  ) -> Checksum {
    PageDigest(number, bytes).checksum
  }

  /// The checksum of bytes that are not a page.
  package static func of(_ bytes: UnsafeRawBufferPointer) -> Checksum {
    var crc = CRC64()
    crc.update(bytes)
    return Checksum(rawValue: crc.value | flag)
  }
}
