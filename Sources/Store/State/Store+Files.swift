import Glibc
import LTX
import Synchronization

extension Store {
  package func truncate(
    _ name: FileName,
    _ file: MountedFile?,
    to size: Int64,
    done: @escaping MountCompletion
  ) {
    let target = file?.file ?? openedJournal(name)
    let path = context.tree + "/" + name.path
    let disk = context.disk
    @Sendable func cut() throws(StoreError) {
      if let target {
        try target.truncate(to: size)
      } else {
        try disk.open(path, [.write]).truncate(to: size)
      }
    }
    if name.role != .sharedMemory, refusesChanges(of: name) {
      return done(readOnly(name.database))
    }
    if let journal = target as? JournalFile, !journal.isReady {
      return workers.promptly { [self] in
        if let error = StoreError.catching(journal.makeReady) { return done(error) }
        truncate(name, file, to: size, done: done)
      }
    }
    switch name.role {
    case .journal where size == 0 && endsTransactions(name):
      let database = makeDatabase(name.database)
      endJournal(name, target, done: done) { [self] () throws(StoreError) in
        guard let journal = target as? JournalFile, let ending = database.emptyJournalFile(journal)
        else { return try cut() }
        makeDurable(ending)
      }
    case .wal:
      changeLog(name.database, done: done) { (database, state) throws(StoreError) in
        let entry = try database.captureWritten(database.removalReach(state), in: &state).entry
        try cut()
        guard state.wal.header != nil else { return entry }
        state.wal.truncated(to: size)
        return state.wal.header == nil ? try database.logEnded(&state) ?? entry : entry
      }
    case .sharedMemory where (try? disk.information(path)?.size).map { $0 <= size } == true:
      // Whoever adds to a wal-index holds the database's state, and may be the daemon itself, which
      // comes here through its own mount where there is no passthrough.
      done(StoreError.catching(cut))
    case .sharedMemory:
      // The daemon's mapping goes first: touching a page past the end of the file is fatal.
      change(name.database, done: done) { (_, state) throws(StoreError) in
        state.index = nil
        try cut()
      }
    case .main where database(name.path) != nil:
      change(name.database, done: done) { (_, state) throws(StoreError) in
        // SQLite leaves at least one page of what was one.
        if size == 0, state.pages > 0 { state.isReplaced = true }
        let before = try state.main?.known()
        // What SQLite cuts off after a commit is in the transaction already.
        let isEnd = size == Int64(state.pages) * Int64(state.pageSize?.bytes ?? 0)
        let wasKnown = before != nil && state.known == before && isEnd
        try cut()
        if wasKnown { state.known = try state.main?.known() }
      }
    case .main, .journal:
      done(StoreError.catching(cut))
    }
  }

  /// Changes a database's state: at once where that is possible, else on a worker.
  func change(
    _ name: String,
    done: @escaping MountCompletion,
    _ body: @escaping @Sendable (Database, inout DatabaseState) throws(StoreError) -> Void
  ) {
    let database = makeDatabase(name)
    @Sendable func run(_ state: inout DatabaseState) -> Result<Void, StoreError> {
      do throws(StoreError) { return .success(try body(database, &state)) } catch {
        return .failure(error)
      }
    }
    @Sendable func answer(_ result: Result<Void, StoreError>) {
      switch result {
      case .success: done(nil)
      case .failure(let error): done(error)
      }
    }
    // A mapping that goes through the mount must not be given up on the mount's own thread: the
    // kernel asks that thread to close it.
    if mayTouchIndexInline, let result = database.state.withLockIfAvailable({ run(&$0) }) {
      return answer(result)
    }
    workers.async { answer(database.state.withLock { run(&$0) }) }
  }

  /// Changes a write-ahead log on a worker, since that can record a transaction.
  private func changeLog(
    _ name: String,
    done: @escaping MountCompletion,
    _ body: @escaping @Sendable (Database, inout DatabaseState) throws(StoreError) -> LogIndex?
  ) {
    let database = makeDatabase(name)
    workers.async { [self] in
      done(
        StoreError.catching { () throws(StoreError) in
          let entry = try database.state.withLock { state throws(StoreError) in
            try body(database, &state)
          }
          guard let entry else { return }
          if log.needsMajority { try log.confirmAndWait(through: entry) }
          tellCommitted(database)
        }
      )
    }
  }

  package func remove(_ name: FileName, done: @escaping MountCompletion) {
    let path = context.tree + "/" + name.path
    let disk = context.disk
    if refusesChanges(of: name) { return done(readOnly(name.database)) }
    switch name.role {
    case .journal where endsTransactions(name):
      let database = makeDatabase(name.database)
      endJournal(name, nil, done: done) { [self] () throws(StoreError) in
        if let ending = try database.endJournalFile() { makeDurable(ending) }
      }
    case .journal where database(name.database) != nil:
      let database = makeDatabase(name.database)
      done(
        StoreError.catching { () throws(StoreError) in
          try database.releaseJournal()
          try disk.remove(path)
        }
      )
    case .wal where database(name.database) != nil:
      changeLog(name.database, done: done) { (database, state) throws(StoreError) in
        let entry = try database.captureWritten(database.removalReach(state), in: &state).entry
        try disk.remove(path)
        state.wal.forget()
        state.walFile = nil
        return try database.logEnded(&state) ?? entry
      }
    case .sharedMemory where database(name.database) != nil:
      change(name.database, done: done) { (_, state) throws(StoreError) in
        state.index = nil
        try disk.remove(path)
      }
    case .main where name.isSuperJournal && mayEndSuperJournals:
      workers.async { [self] in
        done(StoreError.catching { () throws(StoreError) in try endSuperJournal(name) })
      }
    case .main where database(name.path) != nil:
      workers.async { [self] in
        done(StoreError.catching { () throws(StoreError) in try drop(name.path) })
      }
    default:
      done(StoreError.catching { () throws(StoreError) in try disk.remove(path) })
    }
  }

  /// Removes a database: first from the log, so that a crash in between is finished from there.
  func drop(_ name: String) throws(StoreError) {
    guard let database = database(name) else { return }
    let entry = try database.state.withLock { state throws(StoreError) -> LogIndex? in
      // From here on it is not lent any more (`DatabaseLoan`).
      guard !database.isLent.load(ordering: .acquiring) else { throw lentAway(name) }
      guard state.position.txid > .zero else {
        state.dropped = true
        return nil
      }
      let entry = try log.append(.drop, database: name, bytes: [])
      // Whoever is about to record something of it comes too late: behind the drop, a transaction
      // would be one of the next database of that name.
      state.dropped = true
      return entry
    }
    do throws(StoreError) {
      if let entry { try log.confirmAndWait(through: entry) }
      try erase(database, suffixes: [""])
    } catch {
      if let entry {
        database.fail(after: entry, error)
      } else {
        database.state.withLock { $0.dropped = false }
      }
      throw error
    }
    tell(.dropped(name: name))
  }

  package func rename(
    _ source: String,
    to target: String,
    noReplace: Bool,
    exchange: Bool,
    done: @escaping MountCompletion
  ) {
    workers.async { [self] in
      done(
        StoreError.catching { () throws(StoreError) in
          try renameNow(source, to: target, noReplace: noReplace, exchange: exchange)
        }
      )
    }
  }

  private func renameNow(
    _ source: String,
    to target: String,
    noReplace: Bool,
    exchange: Bool
  ) throws(StoreError) {
    let from = context.tree + "/" + source
    let to = context.tree + "/" + target
    let moved = allDatabases.filter { $0.name == source || $0.name.hasPrefix(source + "/") }
      .filter { $0.published.position.txid > .zero }
    let replaced = database(target).flatMap { $0.published.position.txid > .zero ? $0 : nil }
    for database in moved + [replaced].compactMap({ $0 }) where !isWriter(of: database) {
      throw role == .primary ? lentAway(database.name) : readOnly(database.name)
    }
    guard !exchange || (moved.isEmpty && replaced == nil) else {
      throw StoreError(
        .unsupported,
        "databases cannot be exchanged by name; rename one after the other"
      )
    }
    // Journals that bear their database's name stay behind, and others come along.
    for path in [source, target] {
      try makeWay(at: path)
      try makeWay(at: path + "-journal")
    }
    if noReplace, try context.disk.information(to) != nil {
      throw StoreError(.exists, "\(target) exists")
    }
    if source == target { return }
    let held = try holdForMove(source, target)
    defer { for database in held { database.state.withLock { $0.moves -= 1 } } }
    for database in moved { try database.gather() }
    if replaced != nil, moved.isEmpty,
      database(source) == nil || database(source)?.published.position.txid == .zero
    {
      try context.disk.rename(from, to: to)
      try replaceContents(target, by: source)
      return
    }
    if replaced != nil { try drop(target) }
    var renames: [(database: Database, name: String, entry: LogIndex)] = []
    for database in moved {
      let name = target + database.name.dropFirst(source.count)
      let entry = try log.append(.rename, database: database.name, bytes: Array(name.utf8))
      renames.append((database, name, entry))
    }
    do throws(StoreError) {
      if let last = renames.last { try log.confirmAndWait(through: last.entry) }
      // The records go first: as long as the file has its old name, no other can come to that.
      for rename in renames { try rename.database.noteRename(to: rename.name, by: rename.entry) }
      try context.disk.rename(from, to: to)
    } catch {
      for rename in renames { takeBack(rename.database, rename.name) }
      throw error
    }
    for rename in renames { finishRename(rename.database, to: rename.name) }
    if !renames.isEmpty {
      // Redo will not rename it again once housekeeping has gone past the entry.
      for name in Set([source, target]) { try context.syncParent(of: name) }
    }
    if moved.isEmpty, FileName(target).role == .main { try adoptIfDatabase(target) }
  }

  /// Keeps databases from being lent while names change hands.
  ///
  /// - Throws: where a replica has one of them.
  private func holdForMove(
    _ source: String,
    _ target: String
  ) throws(StoreError) -> [Database] {
    var held: [Database] = []
    for database in allDatabases {
      let name = database.name
      guard name == source || name == target || name.hasPrefix(source + "/") else { continue }
      let isHeld = database.state.withLock { state in
        guard !database.isLent.load(ordering: .acquiring) else { return false }
        state.moves += 1
        return true
      }
      guard isHeld else {
        for database in held { database.state.withLock { $0.moves -= 1 } }
        throw lentAway(name)
      }
      held.append(database)
    }
    return held
  }

  /// The file could not be renamed: the log says so, too.
  private func takeBack(_ database: Database, _ name: String) {
    do throws(StoreError) {
      let entry = try log.append(.rename, database: name, bytes: Array(database.name.utf8))
      try database.noteRename(to: database.name, by: entry)
    } catch {
      database.state.withLock { state in
        state.failed = Database.lateFailure(database.name, error)
        database.publish(state)
      }
    }
  }

  /// Gives a database its new name everywhere but in the tree and in its record.
  func finishRename(_ database: Database, to name: String) {
    let old = database.name
    let replaced = state.withLock { state in
      state.databases[old] = nil
      return state.databases.updateValue(database, forKey: name)
    }
    // One without a transaction, of which the log says nothing.
    if let replaced, replaced !== database { replaced.state.withLock { $0.dropped = true } }
    // A client may have made one meanwhile, which has the old name; and what cannot be removed is no hot journal.
    _ = try? database.releaseJournal()
    database.rename(to: name)
    database.state.withLock { $0.isNamed = false }
    context.locks.move(old, to: name)
    context.locks.move(old + "-shm", to: name + "-shm")
  }
}

extension Database {
  /// The log says of this database what could not be done: it is left alone, and the next start, which
  /// looks at the log from before that entry on, does it.
  func fail(after entry: LogIndex, _ cause: StoreError) {
    state.withLock { state in
      state.failed = Self.lateFailure(name, cause)
      state.entry = entry
      publish(state)
    }
  }

  /// Brings all of the database into its main file, since that is what gets another name.
  ///
  /// - Throws: when an unfinished transaction is to be undone first, as whoever opens it does.
  func gather() throws(StoreError) {
    if let failed = published.failed { throw failed }
    guard try !hasHotJournal() else {
      throw StoreError(
        .busy,
        "database \(name) has an unfinished transaction and cannot be renamed; open it once before"
      )
    }
    // Who has it open has its write-ahead log under the old name.
    guard !sharedMemoryLocks.isLocked(WALLock.deadManSwitch) else { return }
    try context.log.syncAndWait(through: context.log.last.index)
    try state.withLock { state throws(StoreError) in
      guard let file = state.walFile, state.wal.header != nil else { return }
      try checkpointAlone(in: &state)
      try file.truncate(to: 0)
      state.index = nil
      state.wal.forget()
      state.walFile = nil
      _ = try logEnded(&state)
    }
  }
}
