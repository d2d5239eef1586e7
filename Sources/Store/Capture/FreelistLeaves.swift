import LTX

// SQLite does not journal a page that was a leaf of the freelist when the transaction began
// and is used again in it: nobody needs its old content. So the journal does not name every page that
// changed. But the trunk page that listed such a leaf was changed, and is in the journal as it was.
// (sqlite.org/fileformat2.html, section 1.5: a trunk page holds the number of the next trunk, the
// number of its leaves, and their page numbers.)

/// Finds pages that a transaction may have changed although its journal does not name them.
enum FreelistLeaves {
  /// - Parameters:
  ///   - records: the journal's records.
  ///   - current: reads a page of the database as it is now.
  /// - Returns: pages that were leaves of a trunk the journal names.
  static func reused(
    journal: RollbackJournal,
    records: [RollbackJournal.Record],
    current: (PageNumber) throws(StoreError) -> [UInt8]
  ) throws(StoreError) -> Set<PageNumber> {
    var originals: [PageNumber: RollbackJournal.Record] = [:]
    for record in records where originals[record.page] == nil { originals[record.page] = record }
    func original(_ page: PageNumber) throws(StoreError) -> [UInt8] {
      if let record = originals[page] { return try journal.original(record) }
      return try current(page)
    }
    let usable = journal.header.pageSize.bytes
    let first = try original(PageNumber(1))
    guard first.count >= 100 else { return [] }
    var trunk = first.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 32) }
    var left = first.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 36) }
    var leaves: Set<PageNumber> = []
    var seen: Set<PageNumber> = []
    while trunk > 0, trunk <= journal.header.pages, left > 0 {
      left -= 1
      let page = PageNumber(trunk)
      // Where the list is damaged it may run in a circle.
      guard seen.insert(page).inserted else { break }
      let bytes = try original(page)
      guard bytes.count == usable else { break }
      bytes.withUnsafeBytes { raw in
        trunk = raw.bigEndian(UInt32.self, at: 0)
        guard originals[page] != nil else { return }
        let count = min(Int(raw.bigEndian(UInt32.self, at: 4)), usable / 4 - 2)
        for k in 0..<count {
          let leaf = raw.bigEndian(UInt32.self, at: 8 + 4 * k)
          if leaf > 0 { leaves.insert(PageNumber(leaf)) }
        }
      }
    }
    return leaves
  }

  /// All leaves of a database's freelist.
  ///
  /// - Parameter read: reads a page of the database.
  static func all(
    pages: UInt32,
    read: (PageNumber) throws(StoreError) -> [UInt8]
  ) throws(StoreError) -> Set<PageNumber> {
    let first = try read(PageNumber(1))
    guard first.count >= 100 else { return [] }
    var trunk = first.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 32) }
    var leaves: Set<PageNumber> = []
    var seen: Set<UInt32> = []
    // Where the list is damaged it may run in a circle, or out of the database.
    while trunk > 0, trunk <= pages, seen.insert(trunk).inserted {
      let bytes = try read(PageNumber(trunk))
      guard bytes.count >= 8 else { break }
      bytes.withUnsafeBytes { raw in
        trunk = raw.bigEndian(UInt32.self, at: 0)
        let count = min(Int(raw.bigEndian(UInt32.self, at: 4)), raw.count / 4 - 2)
        for k in 0..<max(0, count) {
          let leaf = raw.bigEndian(UInt32.self, at: 8 + 4 * k)
          if leaf > 0 { leaves.insert(PageNumber(leaf)) }
        }
      }
    }
    return leaves
  }
}
