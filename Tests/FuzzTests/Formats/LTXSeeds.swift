import Foundation
import LTX

/// Transaction files to start from: those of the reference library, and some of our own.
enum LTXSeeds {
  static func files() throws -> [[UInt8]] {
    let directory = root.appendingPathComponent("Tests/LTXTests/Fixtures")
    let names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
    let golden = try names.filter { $0.hasSuffix(".ltx") }.sorted().map { name in
      [UInt8](try Data(contentsOf: directory.appendingPathComponent(name)))
    }
    return try golden + history()
  }

  /// The package's directory, also where this file is reached through a link.
  static var root: URL {
    var url = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    for _ in 0..<4 { url.deleteLastPathComponent() }
    return url
  }

  /// Four transactions of one database of 512-byte pages: made, changed, cut, deleted.
  static func history(_ compression: LTXCompression = .fast) throws -> [[UInt8]] {
    var pages: [UInt32: [UInt8]] = [:]
    var before = Checksum.none
    var files: [[UInt8]] = []
    for (txid, change) in [(3, [1, 2, 3]), (4, [2, 4]), (2, [1]), (0, [])].enumerated() {
      let (commit, numbers) = change
      var total = Checksum.empty
      for number in numbers {
        pages[UInt32(number)] = (0..<512).map { UInt8(truncatingIfNeeded: $0 * number + txid) }
      }
      pages = pages.filter { $0.key <= UInt32(commit) }
      for (number, page) in pages {
        total = total.toggling(page.withUnsafeBytes { Checksum.page(PageNumber(number), $0) })
      }
      guard let size = PageSize(bytes: 512) else { return [] }
      var encoder = try LTXEncoder(
        header: LTXHeader(
          pageSize: size,
          commit: UInt32(commit),
          minTXID: TXID(UInt64(txid) + 1),
          maxTXID: TXID(UInt64(txid) + 1),
          timestamp: 1_700_000_000_000,
          preApply: before,
          nodeID: 7
        ),
        compression: compression
      )
      for number in numbers {
        try pages[UInt32(number)]?.withUnsafeBytes {
          _ = try encoder.append(PageNumber(UInt32(number)), $0)
        }
      }
      try encoder.finish(postApply: total)
      files.append(encoder.takeOutput())
      before = total
    }
    return files
  }
}
