import LTX
import Testing

/// Telling the revisions apart where their bytes are alike.
@Suite struct LTXEncodingTests {
  private func revision1(_ pages: [[UInt8]], size: Int = 512) throws -> [UInt8] {
    try plainFile(
      size: size,
      commit: 0x0009_0000,
      pages: pages.enumerated().map { (UInt32($0.offset + 2), $0.element) }
    )
  }

  private func page(_ start: [UInt8], size: Int = 512) -> [UInt8] {
    start + (start.count..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
  }

  /// Pages whose content begins like a page of revision 3: overflow pages may, with the number of
  /// their successor.
  @Test(
    arguments: [
      [0, 0], [0, 1], [0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 200],
      [0, 1, 0, 0, 2, 0], [0, 1, 0, 0, 2, 18], [0, 1, 255, 255, 255, 255], [0, 2, 0, 0, 0, 1],
      [0, 0, 4, 0x22, 0x4D, 0x19, 0x64, 0x40],
    ] as [[UInt8]]
  )
  func plainPagesThatLookPacked(start: [UInt8]) throws {
    let pages = [page(start), page(start), page([13])]
    let file = try DecodedFile(revision1(pages))
    #expect(file.encoding == .v1)
    #expect(file.pages.map(\.bytes) == pages)
  }

  /// The one look-alike that is told apart only by being named, and is refused otherwise.
  @Test func aPlainPageThatHoldsAFrame() throws {
    let bytes = try revision1([page([0, 0, 4, 0x22, 0x4D, 0x18, 0x64, 0x40])])
    #expect(throws: LTXError.self) { try DecodedFile(bytes) }
    #expect(try DecodedFile(bytes, encoding: .v1).pages.count == 1)
  }

  @Test(arguments: [512, 4_096, 65_536])
  func everyPageSizeIsToldApart(size: Int) throws {
    let plain = try revision1([page([13], size: size)], size: size)
    let file = try DecodedFile(plain)
    #expect(file.encoding == .v1)
    for compression in [LTXCompression.fast, .none] {
      let packed = try DecodedFile(file.encoded(compression))
      #expect(packed.encoding == .v3)
      #expect(packed.pages == file.pages)
    }
  }
}
