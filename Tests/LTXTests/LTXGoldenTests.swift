import LTX
import Testing

/// The files of the reference library, in every body encoding.
@Suite struct LTXGoldenTests {
  @Test(arguments: Fixture.all)
  func readsWhatTheManifestSays(fixture: Fixture) throws {
    let contents = try fixture.contents()
    #expect(contents.count == fixture.bytes)
    let file = try DecodedFile(contents)
    #expect(file.header == (try fixture.header()))
    #expect(file.encoding == fixture.encoding)
    #expect(file.trailer?.postApply.description == fixture.post_apply_checksum)
    #expect(file.trailer?.file.description == fixture.file_checksum)
    try #require(file.pages.count == fixture.pageList.count)
    for (page, expected) in zip(file.pages, fixture.pageList) {
      #expect(page.number.rawValue == expected.pgno)
      #expect(page.checksum?.description == expected.page_checksum)
      #expect(page.bytes == fixture.content(of: expected))
    }
  }

  @Test(arguments: Fixture.all)
  func readsTheSameInDripsAndWhenTold(fixture: Fixture) throws {
    let contents = try fixture.contents()
    let whole = try DecodedFile(contents)
    #expect(try DecodedFile(contents, encoding: fixture.encoding) == whole)
    for atMost in [1, 7, 1_000] {
      #expect(try DecodedFile(DripSource(contents, atMost: atMost)) == whole)
    }
  }

  @Test(arguments: Fixture.all)
  func headerSurvives(fixture: Fixture) throws {
    let contents = try fixture.contents()
    var bytes: [UInt8] = []
    try fixture.header().encode(into: &bytes)
    #expect(bytes == Array(contents.prefix(LTXHeader.size)))
  }

  @Test(arguments: Fixture.all, [LTXCompression.fast, .none])
  func rewrittenFilesSayTheSame(fixture: Fixture, compression: LTXCompression) throws {
    let file = try DecodedFile(fixture.contents())
    let again = try DecodedFile(file.encoded(compression))
    var header = file.header
    header.flags.remove(.compressedBody)
    #expect(again.header == header)
    #expect(again.pages == file.pages)
    #expect(again.trailer?.postApply == file.trailer?.postApply)
    #expect(again.encoding == .v3)
  }

  @Test(arguments: Fixture.all)
  func theOtherEncodingIsRefused(fixture: Fixture) throws {
    let contents = try fixture.contents()
    #expect(throws: LTXError.self) {
      try DecodedFile(contents, encoding: fixture.encoding == .v1 ? .v3 : .v1)
    }
  }

  @Test func oneDecoderReadsThemAll() throws {
    let first = try #require(Fixture.all.first)
    var decoder = try LTXDecoder(LTXBytes(first.contents()))
    for fixture in Fixture.all {
      let contents = try fixture.contents()
      // Left in the middle, and after an error: neither may show in the next file.
      try decoder.restart(LTXBytes(contents))
      var page = [UInt8](repeating: 0, count: fixture.page_size)
      _ = try page.withUnsafeMutableBytes { try decoder.next(into: $0) }
      #expect(throws: LTXError.self) { try decoder.restart(LTXBytes(contents.prefix(99))) }
      try decoder.restart(LTXBytes(contents))
      var numbers: [UInt32] = []
      while let number = try page.withUnsafeMutableBytes({ try decoder.next(into: $0) }) {
        numbers.append(number.rawValue)
      }
      #expect(numbers == fixture.pageList.map(\.pgno))
      #expect(decoder.trailer?.file.description == fixture.file_checksum)
    }
  }
}

extension Fixture {
  var encoding: LTXEncoding { body_encoding == "v1" ? .v1 : .v3 }
}
