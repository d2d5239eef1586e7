import LTX
import Synchronization

// A transaction that waited for a majority when this node ceased to be the primary: its writer was told that it
// failed, and has undone it, or left a journal that does. Whether it counts the log says: once it is known to be
// committed, the files are brought to it; where it is cut from the log, they stay as they are.

extension Database {
  /// Lets readers in while it is not decided yet whether the last transaction counts: they see the database without
  /// it.
  func serveUndecided() throws(StoreError) {
    try undoRefused()
    guard try isSharedInWALMode() else { return }
    guard !isKeptByOne, sharedMemoryLocks.tryLock(.write, WALLock.write) else { return }
    var isDone = false
    defer { if !isDone { sharedMemoryLocks.releaseAll(owner: .daemon) } }
    guard sharedMemoryLocks.tryLock(.read, WALLock.deadManSwitch),
      mainLocks.tryLock(.read, MainLock.shared)
    else { return }
    let index = WALIndex(
      memory: try SharedMemory(try context.disk.open(sharedMemoryPath, [.write]))
    )
    guard try index.header() == nil else {
      isDone = true
      return
    }
    isDone = try state.withLock { state throws(StoreError) in
      guard state.isRefused, !state.dropped, let end = state.beforeLast,
        let header = state.wal.header,
        let file = state.walFile
      else { return false }
      return try rebuild(index, header, file, through: end)
    }
  }

  /// Plays back a journal that would keep readers out.
  private func undoRefused() throws(StoreError) {
    guard try hasHotJournal(), mainLocks.tryLock(.write, MainLock.pending, briefly: true) else {
      return
    }
    guard mainLocks.tryLock(.write, MainLock.shared, briefly: true) else {
      return mainLocks.unlock(owner: .daemon, range: MainLock.pending)
    }
    defer { unlockExclusive() }
    try state.withLock { state throws(StoreError) in
      guard !state.dropped else { return }
      state.isRefused = true
      try playBackJournal(in: &state)
    }
  }

  /// Makes a transaction again whose writer has undone it, being told that it failed.
  func redoLast(in state: inout DatabaseState) throws(StoreError) -> Bool {
    guard let size = state.pageSize, let entry = try refusedTransaction(state) else { return false }
    let main = try mainFile(&state)
    var decoder = try TransactionPlan.decoder(entry, log: context.log)
    guard decoder.header.pageSize == size else { return false }
    try TransactionPlan.forEach(&decoder, name) { (digest, bytes) throws(StoreError) in
      try main.write(bytes, at: digest.number.offset(size))
    }
    try main.truncate(to: Int64(state.pages) * Int64(size.bytes))
    state.isDoubted = true
    return try isIntact(&state)
  }

  /// The entry of a transaction whose writer was told that it failed.
  private func refusedTransaction(_ state: borrowing DatabaseState) throws(StoreError) -> LogEntry?
  {
    guard state.isRefused else { return nil }
    let entry = try context.log.entry(at: state.entry)
    let isTransaction = entry.kind == .transaction || entry.kind == .stagedTransaction
    return isTransaction && entry.database == name ? entry : nil
  }

  /// The last transaction is about to be cut from the log: what the files show is what was before it, and of the
  /// pages that it changed nothing is known, so that they are fetched.
  func forgetRefused() throws(StoreError) {
    try state.withLock { state throws(StoreError) in
      guard let entry = try refusedTransaction(state) else { return }
      var decoder = try TransactionPlan.decoder(entry, log: context.log)
      try TransactionPlan.forEach(&decoder, name) { (digest, _) throws(StoreError) in
        state.checksums?.set(digest.number, .none)
      }
      state.isRefused = false
      guard let end = state.beforeLast, let header = state.wal.header else { return }
      state.wal.adopt(header, end: end.end, sum: end.sum)
      state.walPages = try placesInLog(state)
    }
  }
}
