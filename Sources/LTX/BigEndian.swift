extension UnsafeRawBufferPointer {
  /// The number at an offset, most significant byte first.
  ///
  /// - Precondition: the bytes are there; the caller has checked the size.
  func bigEndian<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type,
    at offset: Int
  ) -> Number {
    precondition(offset >= 0 && offset <= count - MemoryLayout<Number>.size, "read past the end")
    return Number(bigEndian: loadUnaligned(fromByteOffset: offset, as: type))
  }
}

extension [UInt8] {
  /// Appends a number, most significant byte first.
  mutating func appendBigEndian(_ number: some FixedWidthInteger & BitwiseCopyable) {
    Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
  }

  /// Appends an unsigned LEB128 number: seven bits a byte, least significant first, bit 7 set on
  /// all but the last.
  mutating func appendVarint(_ number: UInt64) {
    var rest = number
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }
}
