/// An input taken apart. Where it ends, everything that follows reads as zero or empty, so that no
/// mutation makes an input useless.
struct FuzzInput {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isEmpty: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T {
    var value: T = 0
    for _ in 0..<MemoryLayout<T>.size { value = value << 8 | T(truncatingIfNeeded: byte()) }
    return value
  }

  /// Bytes behind a length of two.
  mutating func block() -> [UInt8] { take(Int(integer(UInt16.self))) }

  mutating func take(_ count: Int) -> [UInt8] {
    let bytes = Array(rest.prefix(count))
    rest = rest.dropFirst(count)
    return bytes
  }

  mutating func remaining() -> [UInt8] { take(rest.count) }

  /// The form in which `block` reads each of several blocks.
  static func blocks(_ blocks: [[UInt8]]) -> [UInt8] {
    blocks.flatMap { big(UInt16($0.count)) + $0 }
  }

  static func big<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }
}

extension [UInt8] {
  /// An integer at an offset; zero where it does not lie within.
  func big<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
    guard offset >= 0, offset <= count - MemoryLayout<T>.size else { return 0 }
    return self[offset..<(offset + MemoryLayout<T>.size)].reduce(0) {
      $0 << 8 | T(truncatingIfNeeded: $1)
    }
  }

  mutating func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    guard offset >= 0, offset <= count - MemoryLayout<T>.size else { return }
    replaceSubrange(offset..<(offset + MemoryLayout<T>.size), with: FuzzInput.big(value))
  }
}
