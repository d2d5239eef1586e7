import LTX
import Logging
import Synchronization

// What clients had written into their write-ahead logs by themselves (`Database.captureWritten`) when the
// node ended: commits that SQLite has reported and that are not in the log.
//
// As long as the machine has not been started anew since, the files are as they were left, so that these
// commits are as safe as on a local disk. Then the write-ahead log outlives recovery, and is taken up
// once the node is the primary. A client that outlives the node could go on writing, through the mount that
// is gone, so its writes are stopped first: what it is told that it has committed is in the log.
//
// After a crash of the machine the files need not be of one moment; what the log lacks then was never
// acknowledged as durable, and goes.

extension Database {
  /// Brings the capture to what the log has of the write-ahead log that is there.
  ///
  /// - Returns: false where there is none, or it does not hold all that the log has of it: then it is of no use.
  func findLogTail(in state: inout DatabaseState) throws(StoreError) -> Bool {
    guard state.failed == nil, state.position.txid > .zero,
      let file = try context.disk.openIfPresent(path("-wal")),
      let header = try WALHeader.read(file), header.pageSize == state.pageSize
    else { return false }
    var end = Int64(WALHeader.bytes)
    var sum = header.sum
    if let last = try lastPlace(state), last.walSalt1 == header.salt1, last.walSalt2 == header.salt2
    {
      end = last.walOffset + last.walSize
      guard end > Int64(WALHeader.bytes), (end - Int64(WALHeader.bytes)) % header.frameBytes == 0
      else { return false }
      let bytes = try file.readBytes(WALFrame.headerBytes, at: end - header.frameBytes)
      guard bytes.count == WALFrame.headerBytes, try file.information().size >= end else {
        return false
      }
      let frame = bytes.withUnsafeBytes { WALFrame($0) }
      guard frame.salt1 == header.salt1, frame.salt2 == header.salt2 else { return false }
      sum = frame.sum
    }
    // From here on the file stays as it is.
    guard try context.disk.stopWrites(path("-wal")) else { return false }
    state.walFile = file
    state.wal.adopt(header, end: end, sum: sum)
    state.wal.trustFile()
    return true
  }

  /// The header of the last transaction, where the log still has it.
  private func lastPlace(_ state: DatabaseState) throws(StoreError) -> LTXHeader? {
    let log = context.log
    guard state.entry >= log.summary().first, state.entry <= log.last.index else { return nil }
    let entry = try log.entry(at: state.entry)
    guard entry.kind == .transaction || entry.kind == .stagedTransaction else { return nil }
    return try TransactionPlan.decoder(entry, log: log).header
  }
}

extension Store {
  /// Puts into log and main file what clients had committed by themselves when the node ended, and leaves no
  /// write-ahead log. May be interrupted anywhere.
  func takeUpLogs() throws(StoreError) {
    for database in allDatabases {
      guard database.state.withLock({ $0.wal.header != nil }) else { continue }
      let entry: LogIndex?
      do throws(StoreError) {
        entry = try takeUpAndRemoveLog(of: database)
      } catch {
        // One database must not keep the node from starting: the next start tries again.
        database.state.withLock { state in
          state.failed = Database.lateFailure(database.name, error)
          database.publish(state)
        }
        context.logger.error(
          "a write-ahead log could not be taken up; nobody may look at its database until a start can",
          metadata: ["database": "\(database.name)", "error": "\(error)"]
        )
        continue
      }
      guard entry != nil else { continue }
      context.logger.notice(
        "took up transactions that had been committed when the node ended and were not in the log yet",
        metadata: ["database": "\(database.name)", "position": "\(database.published.position)"]
      )
      tellCommitted(database)
    }
  }

  private func takeUpAndRemoveLog(of database: Database) throws(StoreError) -> LogIndex? {
    let entry = try takeUpLog(of: database)
    try context.disk.removeStopping(database.path("-wal"))
    // To be removed it had to be open to writes for a moment.
    database.state.withLock { $0.wal.trustFile() }
    let more = try takeUpLog(of: database)
    database.state.withLock { state in
      state.wal.forget()
      state.walFile = nil
    }
    return more ?? entry
  }

  private func takeUpLog(of database: Database) throws(StoreError) -> LogIndex? {
    let entry: LogIndex?
    do throws(StoreError) {
      entry = try database.state.withLock { state throws(StoreError) in
        try database.captureDangling(in: &state)
      }
    } catch {
      // What SQLite cannot have written must not keep the node from starting.
      guard error.code == .corrupt else { throw error }
      context.logger.error(
        "a write-ahead log holds what cannot be a transaction of its database; that is left out",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
      return nil
    }
    guard let entry else { return nil }
    try log.syncAndWait(through: entry)
    try database.state.withLock { state throws(StoreError) in
      try database.checkpointAlone(in: &state)
    }
    return entry
  }

  /// `state/boot`: the start of the machine that the node last ran under.
  static func bootPath(_ context: StoreContext) -> String { context.stateDirectory + "/boot" }

  /// Whether the files of the data directory are as the node left them, however it ended.
  static func isSameBoot(
    _ configuration: StoreConfiguration,
    _ context: StoreContext
  ) throws(StoreError) -> Bool {
    guard let boot = configuration.boot, !boot.isEmpty else { return false }
    return try context.disk.contents(bootPath(context), limit: 256) == Array(boot.utf8)
  }

  /// Notes the start of the machine, once nothing is left from before.
  static func noteBoot(
    _ configuration: StoreConfiguration,
    _ context: StoreContext
  ) throws(StoreError) {
    guard let boot = configuration.boot else {
      // What another start left is not this one's.
      if try context.disk.information(bootPath(context)) != nil {
        try context.disk.remove(bootPath(context))
      }
      return
    }
    try context.disk.replace(
      bootPath(context),
      with: Array(boot.utf8),
      in: context.stateDirectory
    )
  }
}
