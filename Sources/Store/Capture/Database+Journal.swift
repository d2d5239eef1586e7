import LTX

extension Database {
  /// Captures the transaction that the end of a rollback journal commits.
  ///
  /// To be called before the journal is removed, truncated or its header zeroed, so that an error
  /// leaves it hot and SQLite rolls back.
  ///
  /// - Returns: the entry that commits the transaction, or nil when it was a rollback.
  func captureJournal(
    _ file: any DiskFile,
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    guard var journal = try RollbackJournal(file, unsynced: true) else { return nil }
    // The journal of a database that has been removed.
    if state.main == nil, try context.disk.information(path()) == nil { return nil }
    let main = try mainFile(&state)
    guard let header = try DatabaseHeader.read(main) else {
      return try captureEmptied(main, journal.header.pageSize, in: &state, recorder)
    }
    // Not all that is to be recorded is this transaction's.
    if state.uncompared {
      let entry = try captureAll(in: &state, recorder)
      state.uncompared = false
      return entry
    }
    // The transaction began on something else than what the log knows: a file that was emptied or
    // exchanged behind the store's back.
    if state.pageSize == header.pageSize, journal.header.pages != state.pages {
      return try captureAll(in: &state, recorder)
    }
    let pages = try DatabaseHeader.pages(of: main, header)
    let old = state.pageSize == header.pageSize ? state.pages : 0
    let records = try journal.records(hot: false)
    var numbers = Set(records.map(\.page))
    let pageSize = header.pageSize
    if journal.header.pageSize == pageSize {
      let leaves = try FreelistLeaves.reused(journal: journal, records: records) {
        page throws(StoreError) in
        try main.readBytes(pageSize.bytes, at: page.offset(pageSize))
      }
      numbers.formUnion(leaves)
    }
    let named = numbers.count { $0.rawValue <= min(pages, old) } + Int(max(pages, old) - old)
    numbers.subtract(try damagedBefore(journal, records, main, in: &state))
    var places = numbers.filter { $0.rawValue <= min(pages, old) }
      .map { PagePlace(page: $0, offset: nil) }
    places.sort { $0.page < $1.page }
    if pages > old {
      for number in (old + 1)...pages {
        places.append(PagePlace(page: PageNumber(number), offset: nil))
      }
    }
    let entry = try recordMain(main, header, pages, places, in: &state, recorder)
    // A page that is what it was may have been something else in between, and that be on the disk.
    if entry != nil, state.scratch.changes.count == named { state.owesSync = false }
    return entry
  }

  /// Compares every page of the main file with what is known of it, and records what differs.
  ///
  /// For what changes a database without a journal the store can read: `journal_mode` MEMORY and
  /// OFF, and a file that was copied into place.
  func captureAll(
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    let main = try mainFile(&state)
    guard let header = try DatabaseHeader.read(main) else {
      guard let size = state.pageSize, try main.information().size == 0 else { return nil }
      return try captureEmptied(main, size, in: &state, recorder)
    }
    let pages = try DatabaseHeader.pages(of: main, header)
    guard pages > 0 else { return nil }
    let all = (1...pages).map { PagePlace(page: PageNumber($0), offset: nil) }
    let places = try withoutDamage(all, main, header.pageSize, in: state)
    let entry = try recordMain(main, header, pages, places, in: &state, recorder)
    state.isReplaced = false
    return entry
  }

  /// A database whose main file was emptied by its transaction (all of it rolled back to nothing,
  /// or cut to zero bytes).
  private func captureEmptied(
    _ main: any DiskFile,
    _ pageSize: PageSize,
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    let size = try main.information().size
    // Not SQLite's own format (an extension that encrypts, say): a file like any other.
    if size > 0, state.pages == 0 { return nil }
    guard size == 0 else {
      throw StoreError(
        .corrupt,
        "the first page of database \(name) is not that of a SQLite database"
      )
    }
    guard state.pages > 0 else { return nil }
    let header = TransactionRecorder.Details(pageSize: pageSize, pages: 0, wal: nil)
    let entry = try recorder.record(header, [], in: &state) { (_, _) throws(StoreError) in }
    state.known = try main.known()
    publish(state, isWAL: false, milliseconds: recorder.milliseconds)
    return entry
  }

  private func recordMain(
    _ main: any DiskFile,
    _ header: DatabaseHeader,
    _ pages: UInt32,
    _ places: [PagePlace],
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    if let failed = state.failed { throw failed }
    let pageSize = header.pageSize
    var page = state.scratch.takeFrame()
    defer { state.scratch.frame = page }
    // What changes while the pages are read shows as a change later.
    let known = try main.known()
    let details = TransactionRecorder.Details(pageSize: pageSize, pages: pages, wal: nil)
    let entry = try recorder.record(details, places, in: &state) { place, use throws(StoreError) in
      try page.withPage(pageSize) { buffer throws(StoreError) in
        try main.readPadded(buffer, at: place.page.offset(pageSize))
        try use(UnsafeRawBufferPointer(buffer))
      }
    }
    state.known = known
    state.backfilled = state.entry
    if entry != nil {
      publish(state, isWAL: header.readVersion == 2, milliseconds: recorder.milliseconds)
    }
    return entry
  }
}
