import LTX
import Testing

/// Files whose own checksum is right but which break another rule: a faulty writer, not a faulty
/// disk.
@Suite struct LTXLieTests {
  private let page = [UInt8](repeating: 3, count: 512)

  private func sum(_ numbers: [UInt32]) -> UInt64 {
    page.withUnsafeBytes { bytes in
      numbers.reduce(Checksum.empty) { $0.toggling(.page(PageNumber($1), bytes)) }.rawValue
    }
  }

  private func error(_ bytes: [UInt8]) -> LTXError? {
    #expect(throws: LTXError.self) { try DecodedFile(bytes, encoding: .v1) }
  }

  @Test func pagesOutOfOrder() throws {
    let good = try plainFile(commit: 9, pages: [(3, page), (4, page)])
    #expect(try DecodedFile(good).pages.count == 2)
    for numbers in [[4, 3], [3, 3], [3, 10]] as [[UInt32]] {
      let bad = try plainFile(commit: 9, pages: numbers.map { ($0, page) })
      #expect(error(bad)?.code == .corrupt, "\(numbers)")
    }
    let lockPage = UInt32(0x4000_0000 / 512 + 1)
    #expect(error(try plainFile(commit: .max, pages: [(lockPage, page)]))?.code == .corrupt)
  }

  @Test func anIncompleteOrFalseSnapshot() throws {
    func snapshot(_ numbers: [UInt32], postApply: UInt64) throws -> [UInt8] {
      try plainFile(
        commit: 2,
        minTXID: 1,
        postApply: postApply,
        pages: numbers.map { ($0, page) }
      )
    }
    #expect(try DecodedFile(snapshot([1, 2], postApply: sum([1, 2]))).pages.count == 2)
    #expect(error(try snapshot([1], postApply: sum([1])))?.code == .corrupt)
    #expect(error(try snapshot([2], postApply: sum([2])))?.code == .corrupt)
    #expect(error(try snapshot([], postApply: sum([])))?.code == .corrupt)
    #expect(error(try snapshot([1, 2], postApply: sum([1])))?.code == .mismatch)
  }

  @Test func aFalsePostApply() throws {
    #expect(error(try plainFile(commit: 1, postApply: 1, pages: []))?.code == .corrupt)
    #expect(error(try plainFile(commit: 1, postApply: 0, pages: []))?.code == .corrupt)
    #expect(error(try plainFile(commit: 0, pages: []))?.code == .corrupt)
    let deletion = try plainFile(commit: 0, postApply: Checksum.flag, pages: [])
    #expect(try DecodedFile(deletion).encoding == .v1)
  }

  /// In a file without pages every byte is covered as it stands, so lies are easily signed.
  @Test func aFalsePageIndex() throws {
    let fixture = try #require(Fixture.all.first { $0.file == "v0.5.2-f0-drop-2.ltx" })
    let good = try Array(fixture.contents().dropLast(8))
    #expect(try DecodedFile(withFileChecksum(good)).pages.isEmpty)
    let index = LTXHeader.size + 6
    let lies: [(String, Range<Int>, [UInt8])] = [
      ("length", index + 8..<index + 9, [2]),
      ("entry", index..<index + 1, [1]),
      ("longer form of zero", index..<index + 1, [0x80, 0]),
      ("flags of the terminator", index - 1..<index, [1]),
    ]
    for (name, range, bytes) in lies {
      var body = good
      body.replaceSubrange(range, with: bytes)
      let error = #expect(throws: LTXError.self, "\(name)") {
        try DecodedFile(withFileChecksum(body), encoding: .v3)
      }
      #expect(error?.code == .corrupt, "\(name)")
    }
  }
}
