import LTX

extension RollbackJournal {
  /// Restores the pages a hot journal holds and the size it names, and makes that durable.
  ///
  /// Of a page named more than once the first record counts: it is what was before the transaction.
  ///
  /// SQLite makes a file smaller only once its journal is done with. So where the header names a
  /// larger size than the file has with these pages, it is damaged, and the file stays as large as it
  /// is.
  mutating func playBack(into main: any DiskFile) throws(StoreError) {
    var seen: Set<PageNumber> = []
    for record in try records(hot: true)
    where record.page.rawValue <= header.pages && seen.insert(record.page).inserted {
      try main.writeAll(try original(record), at: record.page.offset(header.pageSize))
    }
    let size = Int64(header.pages) * Int64(header.pageSize.bytes)
    if try main.information().size > size { try main.truncate(to: size) }
    try main.sync()
  }
}
