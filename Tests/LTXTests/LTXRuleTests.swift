import Testing

@testable import LTX

/// Each rule of header, trailer and page order, broken one at a time.
@Suite struct LTXRuleTests {
  private func header(
    minTXID: UInt64 = 2,
    commit: UInt32 = 5,
    pageSize: Int = 512,
    _ change: (inout LTXHeader) -> Void = { _ in }
  ) throws -> LTXHeader {
    var header = LTXHeader(
      pageSize: try #require(PageSize(bytes: pageSize)),
      commit: commit,
      minTXID: TXID(minTXID),
      maxTXID: TXID(max(minTXID, 2)),
      timestamp: 1,
      preApply: minTXID == 1 ? .none : Checksum(rawValue: Checksum.flag | 5)
    )
    change(&header)
    return header
  }

  @Test func theHeadersRules() throws {
    let changes: [(String, (inout LTXHeader) -> Void)] = [
      ("unknown flag", { $0.flags = LTXFlags(rawValue: 4) }),
      ("transaction 0", { $0.minTXID = .zero }),
      ("range", { $0.maxTXID = TXID(1) }),
      ("pre-apply missing", { $0.preApply = .none }),
      ("pre-apply without flag", { $0.preApply = Checksum(rawValue: 5) }),
      ("pre-apply of a snapshot", { $0.minTXID = TXID(1) }),
      ("pre-apply without checksums", { $0.flags = .noChecksum }),
      ("negative offset", { $0.walOffset = -1 }),
      (
        "negative size",
        {
          $0.walOffset = 32; $0.walSize = -1
        }
      ),
      ("size without offset", { $0.walSize = 1 }),
      ("first salt without offset", { $0.walSalt1 = 1 }),
      ("second salt without offset", { $0.walSalt2 = 1 }),
    ]
    try header().validate()
    for (name, change) in changes {
      let broken = try header(change)
      #expect(throws: LTXError.self, "\(name)") { try broken.validate() }
      #expect(throws: LTXError.self, "\(name)") {
        try LTXEncoder(header: broken, compression: .none)
      }
      var bytes: [UInt8] = []
      broken.encode(into: &bytes)
      #expect(throws: LTXError.self, "\(name)") {
        try bytes.withUnsafeBytes { _ = try LTXHeader(decoding: $0) }
      }
    }
    try header {
      $0.walOffset = 32; $0.walSalt1 = 1
    }.validate()
  }

  @Test func theHeadersBytes() throws {
    var bytes: [UInt8] = []
    try header().encode(into: &bytes)
    #expect(bytes.count == LTXHeader.size)
    for (offset, value) in [(0, 0x4D), (8, 0x01), (11, 0x01), (10, 0x03), (80, 1), (99, 1)] {
      var broken = bytes
      broken[offset] = UInt8(value)
      #expect(throws: LTXError.self, "byte \(offset)") {
        try broken.withUnsafeBytes { _ = try LTXHeader(decoding: $0) }
      }
    }
  }

  @Test func theTrailersRules() throws {
    let some = Checksum(rawValue: Checksum.flag | 9)
    let unflagged = Checksum(rawValue: 9)
    let plain = try header()
    let bare = try header {
      $0.flags = .noChecksum; $0.preApply = .none
    }
    let deletion = try header(commit: 0)
    for (header, good, bad) in [
      (plain, some, Checksum.none), (plain, some, unflagged), (bare, .none, some),
      (deletion, .empty, some), (deletion, .empty, .none),
    ] {
      try LTXTrailer(postApply: good, file: some).validate(after: header)
      #expect(throws: LTXError.self) {
        try LTXTrailer(postApply: bad, file: some).validate(after: header)
      }
      #expect(throws: LTXError.self) {
        try LTXTrailer(postApply: good, file: unflagged).validate(after: header)
      }
    }
    #expect(throws: LTXError.self) {
      try [UInt8](repeating: 0, count: 15).withUnsafeBytes { _ = try LTXTrailer(decoding: $0) }
    }
  }

  @Test func theOrderOfPages() throws {
    // Pages of 65,536 bytes have their lock page at 16,385.
    var increment = LTXPageOrder(try header(commit: 20_000, pageSize: 65_536))
    #expect(increment.objection(to: PageNumber(0)) != nil)
    #expect(increment.objection(to: PageNumber(20_001)) != nil)
    #expect(increment.objection(to: PageNumber(16_385)) != nil)
    increment.advance(to: PageNumber(7))
    #expect(increment.objection(to: PageNumber(7)) != nil)
    #expect(increment.objection(to: PageNumber(6)) != nil)
    #expect(increment.objection(to: PageNumber(16_386)) == nil)
    #expect(increment.objectionToEnd == nil)

    var snapshot = LTXPageOrder(try header(minTXID: 1, commit: 16_386, pageSize: 65_536))
    #expect(snapshot.objection(to: PageNumber(2)) != nil)
    #expect(snapshot.objection(to: PageNumber(1)) == nil)
    snapshot.advance(to: PageNumber(16_384))
    #expect(snapshot.objection(to: PageNumber(16_385)) != nil)
    #expect(snapshot.objectionToEnd != nil)
    #expect(snapshot.objection(to: PageNumber(16_386)) == nil)
    snapshot.advance(to: PageNumber(16_386))
    #expect(snapshot.objectionToEnd == nil)

    // A database that ends with its lock page.
    var short = LTXPageOrder(try header(minTXID: 1, commit: 16_385, pageSize: 65_536))
    short.advance(to: PageNumber(16_384))
    #expect(short.objectionToEnd == nil)

    var last = LTXPageOrder(try header(commit: .max, pageSize: 512))
    last.advance(to: PageNumber(.max))
    #expect(last.objection(to: PageNumber(.max)) != nil)
    #expect(last.objectionToEnd == nil)
  }

  @Test func theEncoderEnforcesThem() throws {
    let page = [UInt8](repeating: 1, count: 512)
    func append(_ number: UInt32, _ count: Int, to encoder: inout LTXEncoder) throws {
      try page.withUnsafeBytes {
        _ = try encoder.append(
          PageNumber(number),
          UnsafeRawBufferPointer(rebasing: $0[..<count])
        )
      }
    }
    var encoder = try LTXEncoder(header: header(minTXID: 1, commit: 2), compression: .fast)
    try append(1, 512, to: &encoder)
    #expect(throws: LTXError.self, "incomplete") { try encoder.finish(postApply: .empty) }
    #expect(throws: LTXError.self, "failed") { try append(2, 512, to: &encoder) }

    try encoder.reset(header: header(minTXID: 1, commit: 2))
    try append(1, 512, to: &encoder)
    try append(2, 512, to: &encoder)
    #expect(throws: LTXError.self, "wrong sum") { try encoder.finish(postApply: .empty) }

    try encoder.reset(header: header())
    #expect(throws: LTXError.self, "short page") { try append(1, 511, to: &encoder) }

    try encoder.reset(header: header())
    try append(5, 512, to: &encoder)
    try encoder.finish(postApply: Checksum(rawValue: Checksum.flag))
    #expect(throws: LTXError.self, "ended") { try append(5, 512, to: &encoder) }
    #expect(throws: LTXError.self, "ended") { try encoder.finish(postApply: .empty) }

    #expect(throws: LTXError.self, "deletion without checksums") {
      let bare = try header(commit: 0) {
        $0.flags = .noChecksum; $0.preApply = .none
      }
      try encoder.reset(header: bare)
    }
    #expect(throws: LTXError.self, "revision 1") {
      try encoder.reset(header: header { $0.flags = .compressedBody })
    }
  }

  @Test func outputCanBeTakenAtAnyTime() throws {
    var random = SeededRandom(3)
    let pages = (0..<5).map { _ in random.bytes(512) }
    let header = try header(minTXID: 1)
    func encode(_ encoder: inout LTXEncoder, taking: Bool) throws -> [UInt8] {
      var bytes: [UInt8] = []
      for (i, page) in pages.enumerated() {
        try page.withUnsafeBytes { _ = try encoder.append(PageNumber(UInt32(i + 1)), $0) }
        if taking { bytes += encoder.takeOutput() }
      }
      try encoder.finish(postApply: encoder.pagesChecksum)
      return bytes + encoder.takeOutput()
    }
    var encoder = try LTXEncoder(header: header, compression: .fast)
    let whole = try encode(&encoder, taking: false)
    // An encoder of other pages, left in the middle, must not show through.
    encoder = try LTXEncoder(header: self.header(pageSize: 4_096), compression: .fast)
    try encoder.reset(header: header)
    #expect(try encode(&encoder, taking: true) == whole)
    #expect(try DecodedFile(whole).pages.map(\.bytes) == pages)
  }

  @Test func fileNames() throws {
    let name = LTXFileName(minTXID: TXID(1), maxTXID: TXID(0xABC))
    #expect(name.description == "0000000000000001-0000000000000abc.ltx")
    #expect(LTXFileName(name.description) == name)
    for bad in [
      "", "0000000000000001-0000000000000ABC.ltx", "0000000000000001-0000000000000abc.LTX",
      "0000000000000002-0000000000000001.ltx", "0000000000000000-0000000000000001.ltx",
      "0000000000000001_0000000000000002.ltx", "000000000000001-0000000000000002.ltx",
      "0000000000000001-0000000000000002.ltx.tmp", "000000000000000g-0000000000000002.ltx",
    ] {
      #expect(LTXFileName(bad) == nil, "\(bad)")
    }
  }
}
