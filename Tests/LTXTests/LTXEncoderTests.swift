import LTX
import Testing

@Suite struct LTXEncoderTests {
  @Test func manifestIsRead() { #expect(Fixture.all.count == 44) }

  @Test(
    arguments: Fixture.all.filter { $0.body_encoding == "v3 blocks" },
    [LTXCompression.fast, .none]
  )
  func agreesWithTheReference(fixture: Fixture, compression: LTXCompression) throws {
    let header = try fixture.header()
    var encoder = try LTXEncoder(header: header, compression: compression)
    for page in fixture.pageList {
      let checksum = try fixture.content(of: page).withUnsafeBytes {
        try encoder.append(PageNumber(page.pgno), $0)
      }
      #expect(checksum.description == page.page_checksum)
    }
    try encoder.finish(postApply: fixture.postApply())
    let bytes = encoder.takeOutput()
    let trailer = try bytes.suffix(16).withUnsafeBytes { try LTXTrailer(decoding: $0) }
    #expect(trailer.postApply.description == fixture.post_apply_checksum)
    // Block lengths are covered; compressors may differ in them, except for noise and no pages.
    let isAlike = fixture.pageList.allSatisfy { $0.kind == "noise" }
    if isAlike {
      #expect(trailer.file.description == fixture.file_checksum)
      #expect(try bytes == fixture.contents())
    }
  }
}
