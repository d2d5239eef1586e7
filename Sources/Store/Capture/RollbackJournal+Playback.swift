import LTX

extension RollbackJournal {
  /// Restores the pages a hot journal holds and the size it names, and makes that durable.
  ///
  /// Of a page named more than once the first record counts: it is what was before the transaction.
  mutating func playBack(into main: any DiskFile) throws(StoreError) {
    var seen: Set<PageNumber> = []
    for record in try records(hot: true)
    where record.page.rawValue <= header.pages && seen.insert(record.page).inserted {
      try main.writeAll(try original(record), at: record.page.offset(header.pageSize))
    }
    try main.truncate(to: Int64(header.pages) * Int64(header.pageSize.bytes))
    try main.sync()
  }
}
