import LTX
import Testing

/// No input makes the decoder trap, and none makes it hand out wrong pages as verified.
@Suite struct LTXDamageTests {
  /// Small files of every encoding, with and without checksums, and a deletion.
  private static let samples = Fixture.all.filter {
    $0.page_size == 512 || $0.file.contains("drop-2") || $0.file.contains("nochecksum-2")
  }

  @Test(.timeLimit(.minutes(2)), arguments: samples)
  func everyChangedByteIsNoticed(fixture: Fixture) throws {
    let contents = try fixture.contents()
    let whole = try DecodedFile(contents)
    var decoder = try LTXDecoder(LTXBytes(contents))
    var damaged = contents
    for i in contents.indices {
      for change: UInt8 in [0x01, 0x80, 0xFF, 1 << UInt8(i % 8)] {
        damaged[i] = contents[i] ^ change
        for encoding in [nil, LTXEncoding.v1, .v3] {
          do {
            try decoder.restart(LTXBytes(damaged), encoding: encoding)
            let file = try DecodedFile(&decoder)
            #expect(file == whole, "byte \(i) xor \(change) read as another file")
          } catch is LTXError {}
        }
      }
      damaged[i] = contents[i]
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: samples)
  func everyTruncationIsAnError(fixture: Fixture) throws {
    let contents = try fixture.contents()
    var decoder = try LTXDecoder(LTXBytes(contents))
    for length in contents.indices {
      for encoding in [nil, LTXEncoding.v1, .v3] {
        #expect(throws: LTXError.self, "\(length) bytes") {
          try decoder.restart(LTXBytes(contents[..<length]), encoding: encoding)
          _ = try DecodedFile(&decoder)
        }
      }
    }
  }

  @Test(arguments: Fixture.all)
  func bytesAfterTheEndAreRefused(fixture: Fixture) throws {
    let contents = try fixture.contents()
    #expect(throws: LTXError.self) { try DecodedFile(contents + [0]) }
    #expect(throws: LTXError.self) { try DecodedFile(contents + contents) }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [11, 12, 13] as [UInt64])
  func rubbishAfterAHeaderIsRefused(seed: UInt64) throws {
    var random = SeededRandom(seed)
    let headers = try Self.samples.map { Array(try $0.contents().prefix(LTXHeader.size)) }
    for round in 0..<2_000 {
      let header = headers[round % headers.count]
      // Half of the rounds look like pages of revision 3 at first.
      let number: [UInt8] = [0, 0, 0, 1, 0, UInt8(random.below(2)), 0, 0]
      let body = (round & 1 == 0 ? number : []) + random.bytes(random.below(1_200))
      for encoding in [nil, LTXEncoding.v1, .v3] {
        #expect(throws: LTXError.self) { try DecodedFile(header + body, encoding: encoding) }
      }
    }
  }

  @Test(arguments: Fixture.all)
  func aFailingSourceIsReported(fixture: Fixture) throws {
    let contents = try fixture.contents()
    for failsAt in [0, 50, 100, contents.count / 2, contents.count - 1] {
      let error = #expect(throws: LTXError.self) {
        try DecodedFile(DripSource(contents, atMost: 40, failsAt: failsAt))
      }
      #expect(error?.code == .unreadable)
      #expect(error?.cause is DripSource.Failure)
    }
  }

  @Test func aDecoderThatFailedStaysFailed() throws {
    let fixture = try #require(Fixture.all.first)
    var contents = try fixture.contents()
    contents[contents.count - 1] ^= 1
    var decoder = try LTXDecoder(LTXBytes(contents))
    var page = [UInt8](repeating: 0, count: fixture.page_size)
    for _ in fixture.pageList {
      _ = try page.withUnsafeMutableBytes { try decoder.next(into: $0) }
    }
    for _ in 0..<2 {
      #expect(throws: LTXError.self) {
        try page.withUnsafeMutableBytes { try decoder.next(into: $0) }
      }
      #expect(decoder.trailer == nil)
    }
  }
}
