/// Where a decoder gets its bytes from: memory, a file in chunks, an object being downloaded.
package protocol LTXByteSource {
  /// Reads up to as many bytes as the buffer has room for; 0 only at the end.
  ///
  /// - Parameter buffer: never empty.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Bytes in memory as a source.
package struct LTXBytes: LTXByteSource, Sendable {
  private var rest: ArraySlice<UInt8>

  package init(_ bytes: [UInt8]) { rest = bytes[...] }
  package init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  package mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = min(buffer.count, rest.count)
    rest.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    rest = rest.dropFirst(count)
    return count
  }
}
