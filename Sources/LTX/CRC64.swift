/// CRC-64/ISO: the checksum LTX uses for pages and for whole files.
///
/// The polynomial is x⁶⁴ + x⁴ + x³ + x + 1, taken with reflected bits (0xD800000000000000), and the
/// register starts and ends inverted (ISO 3309; the same values as Go's `crc64.ISO`). In the
/// reflected order bit 63 of the register is the coefficient of x⁰ and bit 0 that of x⁶³, so
/// multiplying by x is a shift to the right.
///
/// No table is used. Because the polynomial is sparse, and squaring in this field only doubles the
/// exponents, a message can be folded with a few shifts and exclusive ors a word: see
/// `CRC64+Folding.swift`. That is several times faster than slicing by eight, needs no intrinsics
/// and leaves the data cache to the pages.
package struct CRC64: Sendable {
  /// The inverted value, as between two bytes of the message.
  private(set) var register: UInt64 = ~0

  package init() {}

  /// Takes the bytes as the next part of the message. An empty part changes nothing.
  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    register = Self.fold(register, start, bytes.count)
  }

  /// Takes a number of two bytes, most significant first.
  package mutating func update(bigEndian value: UInt16) {
    register = Self.appendLow(register, UInt64(value.byteSwapped), bytes: 2)
  }

  /// Takes a number of four bytes, most significant first.
  package mutating func update(bigEndian value: UInt32) {
    register = Self.appendLow(register, UInt64(value.byteSwapped), bytes: 4)
  }

  /// Takes a number of eight bytes, most significant first.
  package mutating func update(bigEndian value: UInt64) {
    register = Self.timesX64(register ^ value.byteSwapped)
  }

  /// Takes the bytes of a page whose own checksum is known, without reading them again.
  ///
  /// A page's checksum covers its number and then its bytes; here the bytes alone are wanted.
  /// For a register c, bytes D of n bits and their contribution d, the next register is
  /// c·xⁿ + d. The digest is s·xⁿ + d with the register s after the page number. So the next
  /// register is (c + s)·xⁿ + digest, one multiplication by a constant.
  ///
  /// - Parameter distance: made for the page size.
  package mutating func update(_ digest: PageDigest, distance: Distance) {
    let start = Self.start(of: digest.number)
    register = distance.multiply(register ^ start) ^ ~digest.crc
  }

  /// The checksum of all bytes so far.
  package var value: UInt64 { ~register }

  /// The register after a page number: what a page's own checksum starts from.
  static func start(of number: PageNumber) -> UInt64 {
    appendLow(~0, UInt64(number.rawValue.byteSwapped), bytes: 4)
  }

  /// The register after a page number and the page's bytes.
  static func digest(_ number: PageNumber, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
    let start = start(of: number)
    guard let base = bytes.baseAddress else { return ~start }
    return ~fold(start, base, bytes.count)
  }
}
