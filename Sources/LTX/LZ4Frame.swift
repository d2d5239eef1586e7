import CLZ4

/// Expands LZ4 frames, the form in which revision 1 stores a body and early revision 3 a page.
///
/// From the LZ4 frame format description (lz4/lz4, doc/lz4_Frame_format.md): magic 0x184D2204 (least
/// significant byte first), a byte of flags whose top two bits are the version 01 and whose bit 0
/// announces a dictionary, a byte whose bits 4 to 6 give the largest block (4 = 64 KiB), …, blocks,
/// an end mark, and a checksum of the content. The library checks the checksums; checked here is
/// what would make it take more memory than the format's writers need.
final class LZ4Frame {
  /// What one step did.
  struct Step {
    var consumed: Int
    var produced: Int
    var isAtEnd: Bool
  }

  /// Bytes of a frame that `isAcceptable` looks at.
  static let prefixSize = 6

  private let context: OpaquePointer

  init?() {
    var context: OpaquePointer?
    guard LZ4F_isError(LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))) == 0,
      let context
    else { return nil }
    self.context = context
  }

  deinit { LZ4F_freeDecompressionContext(context) }

  /// Whether a frame begins here, of a kind that takes at most 64 KiB a block and no dictionary.
  static func isAcceptable(_ prefix: UnsafeRawBufferPointer) -> Bool {
    guard prefix.count >= prefixSize, prefix.bigEndian(UInt32.self, at: 0) == 0x0422_4D18 else {
      return false
    }
    return prefix[4] >> 6 == 1 && prefix[4] & 1 == 0 && (prefix[5] >> 4) & 7 == 4
  }

  /// Forgets the frame before; another may begin.
  func reset() { LZ4F_resetDecompressionContext(context) }

  /// Expands some of the source into some of the target; nil when the frame is damaged.
  func step(
    _ source: UnsafeRawBufferPointer,
    into target: UnsafeMutableRawBufferPointer
  ) -> Step? {
    var produced = target.count
    var consumed = source.count
    let hint = LZ4F_decompress(
      context,
      target.baseAddress,
      &produced,
      source.baseAddress,
      &consumed,
      nil
    )
    guard LZ4F_isError(hint) == 0, consumed > 0 || produced > 0 else { return nil }
    return Step(consumed: consumed, produced: produced, isAtEnd: hint == 0)
  }
}
