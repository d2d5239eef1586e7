import Foundation
import LTX
import Testing

/// One file of the reference library, as the manifest describes it.
struct Fixture: Decodable, CustomTestStringConvertible, Sendable {
  struct Page: Decodable, Sendable {
    var pgno: UInt32
    var kind: String
    var tx: UInt32
    var page_checksum: String
  }

  var file: String
  var body_encoding: String
  var flags: UInt32
  var page_size: Int
  var commit: UInt32
  var min_txid: UInt64
  var max_txid: UInt64
  var timestamp_ms: Int64
  var pre_apply_checksum: String
  var post_apply_checksum: String
  var file_checksum: String
  var wal_offset: Int64
  var wal_size: Int64
  var wal_salt1: UInt32
  var wal_salt2: UInt32
  var node_id: UInt64
  var bytes: Int
  /// Null for a file without pages.
  var pages: [Page]?

  var pageList: [Page] { pages ?? [] }

  var testDescription: String { file }
}

extension Fixture {
  private static let directory = Bundle.module.bundleURL.appending(path: "Fixtures")

  /// All files of the manifest; empty (which a test refuses) when it cannot be read.
  static let all: [Fixture] = {
    let url = directory.appending(path: "manifest.json")
    guard let data = try? Data(contentsOf: url) else { return [] }
    return (try? JSONDecoder().decode([Fixture].self, from: data)) ?? []
  }()

  func contents() throws -> [UInt8] {
    try [UInt8](Data(contentsOf: Self.directory.appending(path: file)))
  }

  func header() throws -> LTXHeader {
    LTXHeader(
      flags: LTXFlags(rawValue: flags),
      pageSize: try #require(PageSize(bytes: page_size)),
      commit: commit,
      minTXID: TXID(min_txid),
      maxTXID: TXID(max_txid),
      timestamp: timestamp_ms,
      preApply: try Checksum(hexadecimal: pre_apply_checksum),
      walOffset: wal_offset,
      walSize: wal_size,
      walSalt1: wal_salt1,
      walSalt2: wal_salt2,
      nodeID: node_id
    )
  }

  func postApply() throws -> Checksum { try Checksum(hexadecimal: post_apply_checksum) }
  func fileChecksum() throws -> Checksum { try Checksum(hexadecimal: file_checksum) }
  func content(of page: Page) -> [UInt8] {
    pageContent(kind: page.kind, page: page.pgno, transaction: page.tx, size: page_size)
  }
}

extension Checksum {
  init(hexadecimal text: String) throws {
    self.init(rawValue: try #require(UInt64(text, radix: 16)))
  }
}

/// A page as the fixtures' README defines its content.
func pageContent(kind: String, page: UInt32, transaction: UInt32, size: Int) -> [UInt8] {
  switch kind {
  case "pattern":
    let base: UInt32 = 131 &* page &+ 17 &* transaction
    return (0..<UInt32(size)).map { (i: UInt32) -> UInt8 in
      let sum: UInt32 = 7 &* i &+ 3 &* (i >> 8)
      return UInt8(truncatingIfNeeded: sum &+ base)
    }
  case "noise":
    var x = page &* 2_654_435_761 &+ transaction &* 40_503 &+ 1
    return (0..<size).map { _ in
      x ^= x << 13
      x ^= x >> 17
      x ^= x << 5
      return UInt8(x & 255)
    }
  default:
    return [UInt8](repeating: 0, count: size)
  }
}
