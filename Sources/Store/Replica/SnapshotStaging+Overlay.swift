import LTX

extension SnapshotStaging {
  /// Applies the entries that were logged while the pages were being read.
  mutating func overlay(
    _ database: String,
    from log: Log,
    after begin: LogIndex,
    through end: LogIndex
  ) throws(StoreError) {
    guard begin < end else { return }
    var changed = self
    defer { self = changed }
    try log.forEach(after: begin, through: end) { (entry) throws(StoreError) in
      guard entry.database == database,
        entry.kind == .transaction || entry.kind == .stagedTransaction
      else { return }
      var decoder = try TransactionPlan.decoder(entry, log: log)
      let header = decoder.header
      guard header.pageSize == changed.pageSize else {
        throw StoreError(
          .diverged,
          "the page size of \(database) changed while its snapshot was made; try again"
        )
      }
      var pages: [SnapshotPage] = []
      try TransactionPlan.forEach(&decoder, database) { (digest, bytes) throws(StoreError) in
        pages.append(SnapshotPage(number: digest.number, bytes: Array(bytes)))
        if pages.count >= 256 {
          try changed.add(pages)
          pages = []
        }
      }
      try changed.add(pages)
      changed.cut(to: header.commit)
    }
  }
}
