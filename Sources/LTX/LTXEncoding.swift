/// How the body of a file is laid out. No file says so; the reader must know or find out.
package enum LTXEncoding: Hashable, Sendable {
  /// ltx 0.3, what LiteFS reads and writes: plain pages, or all of them in one LZ4 frame, which a
  /// flag of the header tells.
  case v1
  /// ltx 0.5: each page an LZ4 frame or an LZ4 block, which a flag of the page tells; a page index.
  case v3
}

extension LTXEncoding {
  /// How many bytes after the header `detect` wants to see, where the file has so many.
  static func detectionSize(_ pageSize: PageSize) -> Int {
    LTXPageHeader.blockPrefixSize + LZ4Block.bound(pageSize.bytes) + 4
  }

  /// Finds out the encoding by structure. In this order:
  ///
  /// 1. The header's flag 0x1 exists in revision 1 only.
  /// 2. Without pages, what follows the header has 20 bytes in revision 1 and 31 in revision 3.
  /// 3. If the first page reads as a frame (its magic is there) or as a block that expands to exactly
  ///    one page and is followed by a possible page number, it is revision 3. Content of a page that
  ///    looks so to revision 3 by chance does not occur; if it was made on purpose, the file is
  ///    refused by its checksum, and the caller may name the encoding.
  /// 4. If a possible page number follows one page after the first, it is revision 1.
  /// 5. What remains is damaged, and is read as the revision that its first page flags suit.
  ///
  /// - Parameters:
  ///   - body: `detectionSize` bytes after the header, or all there are.
  ///   - page: one page of memory to try in.
  static func detect(
    _ header: LTXHeader,
    body: UnsafeRawBufferPointer,
    page: UnsafeMutableRawBufferPointer
  ) -> LTXEncoding {
    if header.flags.contains(.compressedBody) { return .v1 }
    guard body.count >= LTXPageHeader.size else { return .v3 }
    let number = body.bigEndian(UInt32.self, at: 0)
    if number == 0 { return body.count == 4 + LTXTrailer.size ? .v1 : .v3 }

    let flags = body.bigEndian(UInt16.self, at: 4)
    if isFrame(body, flags: flags) { return .v3 }
    if let next = afterBlock(body, flags: flags, page: page),
      isPossible(next, after: number, header)
    {
      return .v3
    }
    if let next = number32(body, at: 4 + header.pageSize.bytes),
      isPossible(next, after: number, header)
    {
      return .v1
    }
    return flags <= 1 ? .v3 : .v1
  }

  private static func isPossible(
    _ next: UInt32,
    after number: UInt32,
    _ header: LTXHeader
  ) -> Bool {
    next == 0 || (next > number && next <= header.commit)
  }

  private static func isFrame(_ body: UnsafeRawBufferPointer, flags: UInt16) -> Bool {
    flags == 0
      && LZ4Frame.isAcceptable(UnsafeRawBufferPointer(rebasing: body[LTXPageHeader.size...]))
  }

  /// The number that follows the first page, if that is a block of exactly one page.
  private static func afterBlock(
    _ body: UnsafeRawBufferPointer,
    flags: UInt16,
    page: UnsafeMutableRawBufferPointer
  ) -> UInt32? {
    let start = LTXPageHeader.blockPrefixSize
    guard flags == LTXPageHeader.hasLength, body.count >= start else { return nil }
    let length = Int(body.bigEndian(UInt32.self, at: LTXPageHeader.size))
    guard length > 0, length <= LZ4Block.bound(page.count), length <= body.count - start else {
      return nil
    }
    let block = UnsafeRawBufferPointer(rebasing: body[start..<start + length])
    guard LZ4Block.decompress(block, into: page) else { return nil }
    return number32(body, at: start + length)
  }

  private static func number32(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt32? {
    guard offset <= bytes.count - 4 else { return nil }
    return bytes.bigEndian(UInt32.self, at: offset)
  }
}

/// What precedes a page in revision 3.
enum LTXPageHeader {
  /// Number and flags.
  static let size = 6
  /// Number, flags and length of the block.
  static let blockPrefixSize = 10
  /// The flag that a length and a block follow, not a frame.
  static let hasLength: UInt16 = 1
}
