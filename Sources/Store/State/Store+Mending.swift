import Glibc
import LTX
import Logging
import Synchronization

// A disk that is full, fails, was remounted read-only or has vanished. What it refuses SQLite is told in
// the same breath, so nothing acknowledged depends on it, and reads go on. Every few seconds the node
// looks whether the disk works again, and then makes up for what it could not do.

extension Store {
  /// Why the node's writes fail, or nil when they do not.
  package var trouble: StoreError? {
    if let trouble = context.health.trouble { return trouble }
    return log.state.withLock { $0.failed }
  }

  /// Room, beyond what a transaction has written so far, without which it is refused: the log must be
  /// able to take it when it commits, as at the end of a rollback journal SQLite can no longer say
  /// that the disk is full.
  static let reserve: Int64 = 1 << 20
  /// Bytes of a rollback journal after which the room is looked at again.
  static let reserveEvery: Int64 = 256 << 10
  /// Bytes written to see whether the disk works again.
  private static let probeBytes = 64 << 10

  /// Refuses a write to a rollback journal while there is no room for the transaction in the log.
  func admitJournal(_ name: FileName, at offset: Int64, _ count: Int) throws(StoreError) {
    if let gone = context.health.gone { throw gone }
    let end = offset + Int64(count)
    guard offset == 0 || offset / Self.reserveEvery != end / Self.reserveEvery else { return }
    guard try context.disk.available(configuration.directory) < end + Self.reserve else { return }
    throw noteFull(
      "the file system of \(configuration.directory) has no room for a transaction of database "
        + name.database
    )
  }

  /// Looks after a failing disk: notices that the data directory is gone, and, once writes work
  /// again, does what could not be done. Blocks.
  ///
  /// - Throws: what still fails.
  package func mend() throws(StoreError) {
    try checkDirectory()
    try checkRoom()
    let waiting = allDatabases.filter { database in
      database.state.withLock { $0.stalled != nil || !$0.unkept.isEmpty || $0.uncompared }
    }
    let isTroubled = context.health.trouble != nil || log.needsMending
    guard isTroubled || !waiting.isEmpty else { return }
    if isTroubled {
      try probe()
      try log.mend()
    }
    for database in waiting where isWriter(of: database) { try catchUp(database) }
    guard isTroubled else { return }
    context.health.clear()
    context.logger.notice("the disk works again; the node takes writes")
  }

  /// The open files of a directory that was moved or unmounted still take writes.
  private func checkDirectory() throws(StoreError) {
    let now = try context.disk.information(configuration.directory)
    let isSame = now?.isSameFile(as: identity) ?? false
    let wasGone = context.health.gone != nil
    guard !isSame else {
      if wasGone {
        context.health.setGone(nil)
        context.logger.notice("the data directory is back; the node takes writes")
      }
      return
    }
    let error = StoreError(
      .system(EIO),
      "the data directory \(configuration.directory) is gone or another one is in its place; put it "
        + "back, or restart the node"
    )
    context.health.setGone(error)
    if !wasGone { context.logger.error("writes are refused", metadata: ["error": "\(error)"]) }
    throw error
  }

  /// A disk may be full without a write of the node's own having failed: SQLite's own writes to a
  /// database do not pass through it.
  private func checkRoom() throws(StoreError) {
    guard try context.disk.available(configuration.directory) < Self.reserve else { return }
    throw noteFull("the file system of \(configuration.directory) has no room for transactions")
  }

  private func noteFull(_ what: String) -> StoreError {
    let error = StoreError(.full, "\(what); make room on the disk or raise the quota")
    if context.health.note(error) {
      context.logger.error("the disk is full", metadata: ["error": "\(error)"])
    }
    return error
  }

  private func probe() throws(StoreError) {
    let path = configuration.stateDirectory + "/probe.tmp"
    let file = try context.disk.open(path, [.write, .create, .truncate])
    var failure: StoreError?
    do throws(StoreError) {
      try file.writeAll([UInt8](repeating: 1, count: Self.probeBytes), at: 0)
      try file.sync()
    } catch { failure = error }
    try context.disk.remove(path)
    if let failure { throw failure }
  }

  /// Brings log, wal-index and files of a database together after a failure.
  private func catchUp(_ database: Database) throws(StoreError) {
    let (uncompared, isBehind) = database.state.withLock {
      ($0.uncompared, $0.stalled != nil || !$0.unkept.isEmpty)
    }
    if uncompared { database.withSharedLock { compare(database) } }
    // Who holds the lock makes up for it with the next commit.
    guard isBehind, !database.isKeptByOne,
      database.sharedMemoryLocks.tryLock(.write, WALLock.write, briefly: true)
    else { return }
    defer { database.sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.write) }
    let mapped = mapIndex(database)
    let entry = try database.state.withLock { state throws(StoreError) in
      _ = database.reconcile(&state, mapped: mapped)
      let entry = try database.recordUnkept(in: &state)
      database.publish(state)
      return entry
    }
    if entry != nil { tellCommitted(database) }
  }
}
