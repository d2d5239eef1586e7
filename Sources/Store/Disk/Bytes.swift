extension UnsafeRawBufferPointer {
  /// A big-endian integer at `offset`.
  ///
  /// - Precondition: the integer lies within the buffer.
  func bigEndian<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size, "integer out of bounds")
    return T(bigEndian: loadUnaligned(fromByteOffset: offset, as: type))
  }

  /// An integer in the machine's own order at `offset`.
  ///
  /// - Precondition: the integer lies within the buffer.
  func native<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size, "integer out of bounds")
    return loadUnaligned(fromByteOffset: offset, as: type)
  }
}

extension [UInt8] {
  /// Appends an integer, most significant byte first.
  mutating func appendBigEndian<T: FixedWidthInteger>(_ value: T) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Stores an integer, most significant byte first.
  ///
  /// - Precondition: the integer lies within the buffer.
  func storeBigEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size, "integer out of bounds")
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }
}
