import CLZ4

/// LZ4 blocks: one page or one payload each, no frame around it.
///
/// From the LZ4 block format description (lz4/lz4, doc/lz4_Block_format.md): a block is a row of
/// sequences, each a token, literals and a match; the last sequence has only literals. The token's
/// high four bits are the number of literals; 15 says that bytes follow that add to it, up to and
/// including the first below 255.
package enum LZ4Block {
  /// The longest block that `size` bytes may take: what LZ4 itself promises not to exceed.
  package static func bound(_ size: Int) -> Int { size + size / 255 + 16 }

  /// Expands a block that must yield exactly the buffer; false when it does not.
  package static func decompress(
    _ block: UnsafeRawBufferPointer,
    into page: UnsafeMutableRawBufferPointer
  ) -> Bool {
    guard let source = block.baseAddress, let target = page.baseAddress,
      let sourceCount = Int32(exactly: block.count), let targetCount = Int32(exactly: page.count)
    else { return false }
    return LZ4_decompress_safe(
      source.assumingMemoryBound(to: CChar.self),
      target.assumingMemoryBound(to: CChar.self),
      sourceCount,
      targetCount
    ) == targetCount
  }

  /// Appends what precedes the literals in a block that has nothing else.
  static func appendLiteralStart(_ count: Int, to output: inout [UInt8]) {
    guard count >= 15 else {
      output.append(UInt8(truncatingIfNeeded: count << 4))
      return
    }
    output.append(0xF0)
    var rest = count - 15
    while rest >= 255 {
      output.append(255)
      rest -= 255
    }
    output.append(UInt8(truncatingIfNeeded: rest))
  }
}

/// Compresses one piece after the other without allocating: state and target are kept.
package struct LZ4Compressor: Sendable {
  /// LZ4's own state; words, because it must be aligned to eight bytes.
  private var state: [UInt64]
  private var target: [UInt8]

  /// - Parameter bytes: how long a piece is; a longer one makes the target grow.
  package init(bytes: Int) {
    state = [UInt64](repeating: 0, count: (Int(LZ4_sizeofState()) + 7) / 8)
    target = [UInt8](repeating: 0, count: LZ4Block.bound(bytes))
  }

  /// Hands the compressed piece to `use`; nil when LZ4 refuses, which it does only above 1 GiB.
  package mutating func compress<Result>(
    _ page: UnsafeRawBufferPointer,
    _ use: (UnsafeRawBufferPointer) -> Result
  ) -> Result? {
    let bound = LZ4Block.bound(page.count)
    if target.count < bound { target = [UInt8](repeating: 0, count: bound) }
    return state.withUnsafeMutableBytes { state in
      target.withUnsafeMutableBytes { target in
        guard let source = page.baseAddress, let base = target.baseAddress,
          let count = Int32(exactly: page.count), let capacity = Int32(exactly: target.count)
        else { return nil }
        let written = LZ4_compress_fast_extState(
          state.baseAddress,
          source.assumingMemoryBound(to: CChar.self),
          base.assumingMemoryBound(to: CChar.self),
          count,
          capacity,
          1
        )
        guard written > 0 else { return nil }
        return use(UnsafeRawBufferPointer(rebasing: target[..<Int(written)]))
      }
    }
  }
}
