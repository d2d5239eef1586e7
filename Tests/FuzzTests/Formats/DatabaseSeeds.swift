import LTX

@testable import Store

/// Small databases and their companions as SQLite would leave them.
enum DatabaseSeeds {
  /// Three pages of 512 bytes: the first, a trunk of the freelist, and its only leaf.
  static func database() -> [UInt8] {
    var bytes = DatabaseHeader.magic + [2, 0, 1, 1, 0, 64, 32, 32]
    bytes += [UInt8](repeating: 0, count: 3 * 512 - bytes.count)
    bytes.put(UInt32(1), at: 24)
    bytes.put(UInt32(3), at: 28)
    bytes.put(UInt32(2), at: 32)
    bytes.put(UInt32(2), at: 36)
    bytes.put(UInt32(1), at: 92)
    bytes.put(UInt32(1), at: 516)
    bytes.put(UInt32(3), at: 520)
    return bytes
  }

  /// Of pages 1 and 2, in sectors of 512 bytes.
  static func journal(synced: Bool) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 512)
    if synced {
      bytes.put(RollbackJournal.magic, at: 0)
      bytes.put(UInt32(2), at: 8)
    }
    bytes.put(UInt32(77), at: 12)
    bytes.put(UInt32(3), at: 16)
    bytes.put(UInt32(512), at: 20)
    bytes.put(UInt32(512), at: 24)
    for page in 1...2 {
      bytes += FuzzInput.big(UInt32(page))
      bytes += database()[((page - 1) * 512)..<(page * 512)]
      bytes += FuzzInput.big(UInt32(0))
    }
    // To the next sector.
    bytes += [UInt8](repeating: 0, count: 512 - (bytes.count % 512))
    Seals.journal(&bytes)
    return bytes
  }

  /// Two transactions: pages 1 and 2, then page 4.
  static func wal() -> [UInt8] {
    guard let size = PageSize(bytes: 512) else { return [] }
    var bytes = WALHeader(pageSize: size, sequence: 0, salt1: 1, salt2: 2).encoded()
    for (page, commit) in [(1, 0), (2, 3), (4, 4)] {
      bytes += FuzzInput.big(UInt32(page)) + FuzzInput.big(UInt32(commit))
      bytes += [UInt8](repeating: 0, count: 16)
      bytes += page == 1 ? Array(database()[..<512]) : [UInt8](repeating: 9, count: 512)
    }
    Seals.wal(&bytes)
    return bytes
  }

  static func record() -> DatabaseRecord {
    DatabaseRecord(
      key: 1,
      name: "a.db",
      stable: LogIndex(2),
      entry: LogIndex(3),
      position: Position(txid: TXID(1), checksum: .empty),
      pageSize: 512,
      pages: 3
    )
  }
}
