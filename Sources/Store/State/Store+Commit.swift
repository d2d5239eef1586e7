import LTX
import Logging
import Synchronization

extension Store {
  /// Frames of one transaction above which its commit is worked out on another thread than the
  /// mount's: 64 pages take some 200 µs.
  static let inlineFrames = 64
  /// The same for a rollback journal, in bytes.
  static let inlineJournal: Int64 = 256 << 10

  func writeWAL(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    let database = makeDatabase(file.name.database)
    guard isWriter(of: database) else { return done(readOnly(file.name.database)) }
    if let gone = context.health.gone { return done(gone) }
    // What travels to the primary is waited for, and not on the mount's thread.
    let mayCommit = !database.isBorrowed.load(ordering: .relaxed)
    let inline = database.state.withLockIfAvailable {
      state -> Result<LogIndex?, StoreError>? in
      let isShort = state.wal.appendsUncommitted(at: offset, bytes)
      guard isShort || mayCommit && state.wal.pending <= Self.inlineFrames else { return nil }
      return Self.writeWAL(database, file, at: offset, bytes, &state)
    }
    if let result = inline ?? nil {
      finish(database, result, done: done)
      return
    }
    let copy = Array(bytes)
    workers.async { [self] in
      let result = copy.withUnsafeBytes { raw in
        database.state.withLock { Self.writeWAL(database, file, at: offset, raw, &$0) }
      }
      finish(database, result, done: done)
    }
  }

  private static func writeWAL(
    _ database: Database,
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    _ state: inout DatabaseState
  ) -> Result<LogIndex?, StoreError> {
    do throws(StoreError) {
      return .success(
        try database.writeWAL(file.file, at: offset, bytes, in: &state, database.recorder)
      )
    } catch { return .failure(error) }
  }

  /// Answers an operation that may have committed a transaction.
  private func finish(
    _ database: Database,
    _ result: Result<LogIndex?, StoreError>,
    done: @escaping MountCompletion
  ) {
    switch result {
    case .failure(let error):
      context.logger.error(
        "an operation on a database failed",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
      done(error)
    case .success(let entry):
      guard let entry else { return done(nil) }
      guard log.needsMajority else {
        tellCommitted(database)
        return done(nil)
      }
      log.confirm(through: entry) { [self] error in
        guard let error else {
          tellCommitted(database)
          return done(nil)
        }
        workers.async { [self] in
          noteRefused(database)
          done(error)
        }
      }
    }
  }

  func writeJournal(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    if let journal = file.file as? JournalFile, !journal.isReady {
      let copy = Array(bytes)
      return workers.promptly { [self] in
        if let error = StoreError.catching(journal.makeReady) { return done(error) }
        copy.withUnsafeBytes { writeJournal(file, at: offset, $0, done: done) }
      }
    }
    let ends =
      offset == 0 && bytes.count >= RollbackJournal.headerBytes
      && bytes.prefix(RollbackJournal.headerBytes).allSatisfy { $0 == 0 }
    guard ends, endsTransactions(file.name) else {
      return done(
        StoreError.catching { () throws(StoreError) in
          if isWriter(of: file.name.database) {
            try admitJournal(file.name, at: offset, bytes.count)
            database(file.name.database)?.journal.willChange()
            noteForeignJournal(file.name, at: offset, bytes)
          }
          try file.file.write(bytes, at: offset)
        }
      )
    }
    let copy = Array(bytes)
    endJournal(file.name, file.file, done: done) { () throws(StoreError) in
      try file.file.writeAll(copy, at: offset)
    }
  }

  /// A hot journal that is copied to its place, by a program that has no lock, is not that of a
  /// transaction which this store has seen begin: what playing it back makes of the database is only
  /// told by comparing all of it.
  ///
  /// SQLite, with locks or without, writes the header by itself.
  private func noteForeignJournal(
    _ name: FileName,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer
  ) {
    guard offset == 0, bytes.count > RollbackJournal.headerBytes,
      let database = database(name.database),
      bytes.count > Int(bytes.bigEndian(UInt32.self, at: 20)),
      !database.mainLocks.isLocked(LockRange(0, .max), .write)
    else { return }
    if database.state.withLockIfAvailable({ $0.uncompared = true }) != nil { return }
    workers.async { database.state.withLock { $0.uncompared = true } }
  }

  /// What is left to do once the transaction that a journal's end commits has been captured.
  private enum JournalEnd {
    case over(Result<LogIndex?, StoreError>)
    /// The entry must be durable, and committed, before the journal may go.
    case afterSync(LogIndex)
    /// The main file must be, since the log would not bring back all that was written there.
    case afterMainSync(LogIndex?)
  }

  /// Ends a rollback journal by `operation`, after capturing the transaction it commits.
  ///
  /// Where SQLite wants the commit durable, the log is made so first: were the journal gone and the
  /// entry lost after a crash, the main file would be ahead of its position, and nothing would tell.
  func endJournal(
    _ name: FileName,
    _ file: (any DiskFile)?,
    done: @escaping MountCompletion,
    operation: @escaping @Sendable () throws(StoreError) -> Void
  ) {
    let database = makeDatabase(name.database)
    database.journal.willEnd()
    let isWriter = isWriter(of: database)
    let needsMajority = log.needsMajority
    @Sendable func end(_ state: inout DatabaseState) -> JournalEnd {
      let synced = Self.takeSynced(&state) || needsMajority
      // What is undone here is in the log, which says what becomes of it.
      if state.isRefused, !isWriter { return .over(database.end(nil, &state, operation)) }
      do throws(StoreError) {
        let found = file == nil ? try database.journalFile() : file
        guard let journal = found,
          let entry = try database.captureJournal(journal, in: &state, database.recorder)
        else {
          if state.owesSync { return .afterMainSync(nil) }
          return .over(database.end(nil, &state, operation))
        }
        if state.owesSync {
          state.isEnding = true
          return .afterMainSync(entry)
        }
        if synced {
          state.isEnding = true
          return .afterSync(entry)
        }
        return .over(database.end(entry, &state, operation))
      } catch { return .over(.failure(error)) }
    }
    @Sendable func conclude(_ entry: LogIndex?, _ failure: StoreError?) {
      finish(database, database.conclude(entry, failure, operation), done: done)
    }
    @Sendable func go(on end: JournalEnd) {
      switch end {
      case .over(let result): finish(database, result, done: done)
      case .afterMainSync(let entry):
        workers.async { [self] in conclude(entry, makeDurable(database, entry)) }
      case .afterSync(let entry):
        log.confirm(through: entry) { [self] error in
          // Whoever has made the log durable has others to answer.
          if error == nil, !needsMajority, let end = database.concludeSoon(entry, operation) {
            return finish(database, end, done: done)
          }
          workers.async { [self] in
            if error != nil { noteRefused(database) }
            conclude(entry, error)
          }
        }
      }
    }
    let size = try? (file ?? database.journalFile())?.information().size
    let inline =
      (size ?? .max) > Self.inlineJournal || database.isBorrowed.load(ordering: .relaxed)
      ? nil
      : database.state.withLockIfAvailable { state -> JournalEnd? in
        // All pages are to be compared, which takes long.
        state.uncompared ? nil : end(&state)
      }
    if let inline = inline ?? nil { return go(on: inline) }
    workers.async { go(on: database.state.withLock { end(&$0) }) }
  }

  /// Makes durable what a journal must not end before: the main file, and the transaction.
  private func makeDurable(_ database: Database, _ entry: LogIndex?) -> StoreError? {
    if let failure = StoreError.catching(database.payMainSync) { return failure }
    guard let entry else { return nil }
    let failure = StoreError.catching { () throws(StoreError) in
      try log.confirmAndWait(through: entry)
    }
    if failure != nil { noteRefused(database) }
    return failure
  }

  /// The writer of the last transaction is told that it failed; the log decides. What it does to undo it is no
  /// transaction, also where another node is the primary.
  private func noteRefused(_ database: Database) {
    state.withLock { $0.engine }?.borrowing.abandon(database)
    database.state.withLock { $0.isRefused = true }
  }

  /// Whether SQLite synced anything in the transaction that ends; then its commit must be durable.
  static func takeSynced(_ state: inout DatabaseState) -> Bool {
    defer { state.synced = false }
    return state.synced
  }
}

extension Database {
  /// Makes the main file durable where a sync of it was left out.
  func payMainSync() throws(StoreError) {
    let main = try state.withLock { state throws(StoreError) in
      state.owesSync ? try mainFile(&state) : nil
    }
    guard let main else { return }
    try syncNoting(main)
    state.withLock { $0.owesSync = false }
  }

  /// Ends a journal once what must be durable before is so, or could not be made so.
  fileprivate func conclude(
    _ entry: LogIndex?,
    _ failure: StoreError?,
    _ operation: () throws(StoreError) -> Void
  ) -> Result<LogIndex?, StoreError> {
    state.withLock { state in
      end(entry, &state) { () throws(StoreError) in
        if let failure { throw failure }
        try operation()
      }
    }
  }

  /// The same where all went well, if it takes no longer than to write a few bytes into the page cache.
  fileprivate func concludeSoon(
    _ entry: LogIndex,
    _ operation: () throws(StoreError) -> Void
  ) -> Result<LogIndex?, StoreError>? {
    guard mayKeepJournal, openedJournal?.canStay == true else { return nil }
    return state.withLockIfAvailable { end(entry, &$0, operation) }
  }

  /// Performs the operation that ends a journal.
  ///
  /// - Parameter entry: that of the journal's transaction; nil where nothing was left to record.
  fileprivate func end(
    _ entry: LogIndex?,
    _ state: inout DatabaseState,
    _ operation: () throws(StoreError) -> Void
  ) -> Result<LogIndex?, StoreError> {
    do throws(StoreError) {
      try operation()
      state.isEnding = false
      state.endedJournal = true
      return .success(entry)
    } catch {
      if entry != nil {
        state.isEnding = true
        // The journal stays hot. SQLite then rolls back, and the end of that is captured as well: what
        // it brings back differs from the log, and is no damage.
        state.uncompared = true
        state.isRefused = true
      }
      return .failure(error)
    }
  }
}
