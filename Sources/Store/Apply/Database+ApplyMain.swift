import LTX
import Synchronization

extension Database {
  /// Writes a transaction's pages into the main file, as a rollback-journal writer would.
  ///
  /// The caller holds the database's EXCLUSIVE lock or there are no readers, and the entry is
  /// durable in the log, so that a crash half-way is made good from there.
  func applyToMain(_ plan: TransactionPlan, log: Log, in state: inout DatabaseState)
    throws(StoreError)
  {
    let main = try mainFile(&state)
    let pageSize = plan.header.pageSize
    do throws(StoreError) {
      if plan.isRebuilt { try main.truncate(to: 0) }
      try plan.forEachPage(log: log) { (digest, bytes) throws(StoreError) in
        try main.write(bytes, at: digest.number.offset(pageSize))
      }
      let size = Int64(plan.header.commit) * Int64(pageSize.bytes)
      if try main.information().size != size { try main.truncate(to: size) }
    } catch {
      tear(plan.changes.map(\.page), pageSize, error, in: &state)
      state.torn = plan.entry.id.index
      throw error
    }
    plan.finish(&state)
    // All that may have been half written is written now.
    if state.torn == plan.entry.id.index { state.failed = nil }
    state.torn = nil
    state.backfilled = state.entry
    state.known = try main.known()
    let header = try DatabaseHeader.read(main)
    publish(
      state,
      isWAL: header?.readVersion == 2,
      milliseconds: plan.entry.milliseconds
    )
  }

  /// The main file could not be written to the end: these pages may be old, new or half of each.
  ///
  /// Their checksums are forgotten, so that a repair fetches them, and nobody gets to see the file
  /// before that: new clients are refused, and the daemon keeps the EXCLUSIVE lock.
  func tear(
    _ pages: [PageNumber],
    _ size: PageSize,
    _ cause: StoreError,
    in state: inout DatabaseState
  ) {
    if state.pageSize != size {
      state.checksums = PageChecksums(pageSize: size)
      state.pageSize = size
    }
    for page in pages where state.checksums?[page] != nil { state.checksums?.set(page, .none) }
    state.failed = StoreError(
      cause.code,
      "database \(name) could not be written; once the disk is mended it is fetched again from the "
        + "primary",
      cause: cause
    )
    publish(state)
  }

  /// Whether the main file is not to be looked at until it is repaired.
  var isTorn: Bool { state.withLock { $0.failed != nil } }
}
