import LTX
import Logging
import Synchronization

extension Store {
  /// Listens to the locks that a writer gives up when its transaction is over.
  func watch(_ database: Database) {
    if role != .primary { refuseWriters(of: database) }
    watchReaders(of: database)
    database.sharedMemoryLocks.setObserver(ranges: [WALLock.write]) {
      [weak self, weak database]
      _,
      end,
      proceed in
      guard let self, let database else { return proceed() }
      writerLeaves(database, end, proceed)
    }
    // Any lock of the main file, for where SQLite puts its locks can be changed at run time
    // (SQLITE_TESTCTRL_PENDING_BYTE).
    database.mainLocks.setObserver(ranges: [LockRange(0, .max)]) {
      [weak self, weak database]
      _,
      end,
      proceed in
      guard let self, let database else { return proceed() }
      exclusiveLeaves(database, end, proceed)
    }
  }

  /// The WAL's WRITE lock is about to be free: log and wal-index must agree before anybody else
  /// writes, see `Database.reconcile`.
  private func writerLeaves(
    _ database: Database,
    _ end: LockEnd,
    _ proceed: @escaping @Sendable () -> Void
  ) {
    guard isWriter(of: database) else { return proceed() }
    let isFollowed = database.isFollowed.load(ordering: .relaxed)
    let inline = database.state.withLockIfAvailable { state -> InlineEnd in
      guard mayTouchIndexInline, !state.wal.isDangling, !isFollowed || end == .unlock else {
        return .no
      }
      return database.settleInline(&state)
    }
    if case .yes(let entry) = inline {
      if entry != nil { tellCommitted(database) }
      return proceed()
    }
    workers.async { [self] in
      let reach: Database.Reach = end == .close ? .valid : .shown
      guard let entry = settleLog(of: database, reach) else { return proceed() }
      // Where SQLite was to sync what it wrote by itself, that was the time to make the log durable.
      if isFollowed, end == .unlock { return proceed() }
      // SQLite has synced these frames already, where it was to.
      log.confirm(through: entry) { _ in proceed() }
    }
  }

  /// An exclusive lock on the main file is about to be free.
  ///
  /// After a commit with a journal the file is as it was when that was captured. Where it is not
  /// (`journal_mode` MEMORY and OFF have no journal to capture), its pages are compared. A client that
  /// had the database to itself needed no lock for the write-ahead log either: what its death left
  /// there is looked at here.
  private func exclusiveLeaves(
    _ database: Database,
    _ end: LockEnd,
    _ proceed: @escaping @Sendable () -> Void
  ) {
    guard isWriter(of: database) else { return proceed() }
    // Whoever is next may write without a journal.
    database.journal.willEnd()
    let isFollowed = database.isFollowed.load(ordering: .relaxed)
    let inline = database.state.withLockIfAvailable { state in
      guard !state.wal.isDangling, !isFollowed || end == .unlock && database.agreesWithIndex(state)
      else { return false }
      return (try? database.isUnchanged(&state)) ?? false
    }
    if inline == true { return proceed() }
    workers.async { [self] in
      let entry = settleAbandonedLog(of: database)
      compare(database)
      guard let entry else { return proceed() }
      log.confirm(through: entry) { _ in proceed() }
    }
  }

  /// `settleLog`, where a client that had the database to itself is gone. Another may be in the midst of a
  /// transaction: a lock of the main file is given up by whoever tried to be the last to close it.
  private func settleAbandonedLog(of database: Database) -> LogIndex? {
    guard
      database.isFollowed.load(ordering: .relaxed)
        || database.state.withLock({ $0.wal.isDangling }),
      database.sharedMemoryLocks.tryLock(.write, WALLock.write, briefly: true)
    else { return nil }
    defer { database.sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.write) }
    return settleLog(of: database, .valid)
  }

  /// Lets log, write-ahead log and wal-index agree, while nobody else can write.
  ///
  /// - Returns: the entry of a transaction that was found.
  func settleLog(of database: Database, _ reach: Database.Reach) -> LogIndex? {
    let mapped = mapIndex(database)
    guard confirmDangling(of: database) else { return nil }
    let entry = database.state.withLock { database.reconcile(&$0, mapped: mapped, reach) }
    guardLog(of: database)
    if entry != nil { tellCommitted(database) }
    return entry
  }

  /// What a dead writer has left behind is shown to nobody before it is committed.
  ///
  /// - Returns: false where this node ceased to be the primary meanwhile.
  private func confirmDangling(of database: Database) -> Bool {
    guard log.needsMajority else { return true }
    // An error of the capture is met again, and told, by what follows.
    let entry = database.state.withLock { state in try? database.captureDangling(in: &state) }
    guard let entry = entry ?? nil else { return true }
    if (try? log.confirmAndWait(through: entry)) != nil { return true }
    database.state.withLock { $0.isRefused = true }
    return false
  }

  /// Records whatever in the main file differs from what the log knows.
  func compare(_ database: Database) {
    do throws(StoreError) {
      var synced = false
      let entry = try database.state.withLock { state throws(StoreError) in
        if try database.isUnchanged(&state) {
          // Playing back a journal is still to change it.
          if state.uncompared, try !database.hasHotJournal() { state.uncompared = false }
          return LogIndex?.none
        }
        // What a dead writer left half done is not to be seen: the next client undoes it.
        if try database.hasHotJournal() { return LogIndex?.none }
        state.uncompared = true
        synced = Self.takeSynced(&state)
        let entry = try database.captureAll(in: &state, database.recorder)
        state.uncompared = false
        return entry
      }
      guard let entry else { return }
      tellCommitted(database)
      // What SQLite has made durable in the main file must be so in the log.
      // Nobody sees it before the lock is given up; it is too late for an error.
      if synced || log.needsMajority { try log.confirmAndWait(through: entry) }
    } catch {
      // The file is still not what the log knows, so that the next look tries again.
      context.logger.error(
        "a transaction without a journal could not be recorded",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
    }
  }

  package func close(_ file: MountedFile, wrote: Bool, done: @escaping MountCompletion) {
    guard wrote, file.name.role == .main, isWriter(of: file.name.path) else {
      return done(nil)
    }
    let path = file.name.path
    workers.async { [self] in
      let error = StoreError.catching { () throws(StoreError) in try adoptIfDatabase(path) }
      // Until its changes had been looked at, the client counted as one of those who could make them.
      file.writer?.leave()
      done(error)
    }
  }

  /// Takes a file into replication that has become a database without a transaction the store saw,
  /// or whose content was changed without one.
  func adoptIfDatabase(_ name: String) throws(StoreError) {
    let path = context.tree + "/" + name
    guard let information = try context.disk.information(path), !information.isDirectory else {
      return
    }
    if let known = database(name), known.published.position.txid > .zero {
      let same = try known.state.withLock { state throws(StoreError) in
        try known.isUnchanged(&state) && !state.isReplaced
      }
      if same { return }
    } else {
      guard try DatabaseHeader.read(try context.disk.open(path, [])) != nil else { return }
    }
    let database = makeDatabase(name)
    // As a reader: what a writer has half done is not to be seen.
    database.withSharedLock { compare(database) }
    let entry = try database.state.withLock { state throws(StoreError) in
      if let found = try database.captureFoundLog(in: &state) { return LogIndex?.some(found) }
      return try database.captureReplaced(in: &state)
    }
    if entry != nil { tellCommitted(database) }
  }

  /// Another file, which was called `source`, has come to stand under a database's name: the
  /// database goes on with its content, but with that file's locks.
  func replaceContents(_ name: String, by source: String) throws(StoreError) {
    guard let old = database(name) else { return }
    context.locks.move(source, to: name)
    var inherited = old.state.withLock { state -> DatabaseState in
      defer {
        let moves = state.moves
        state = DatabaseState()
        state.dropped = true
        state.moves = moves
      }
      return state
    }
    inherited.main = nil
    inherited.known = nil
    inherited.wal.forget()
    inherited.walFile = nil
    inherited.walPages.removeAll()
    inherited.index = nil
    inherited.moves = 0
    inherited.damaged = [:]
    let database = Database(
      key: old.key,
      name: name,
      context: context,
      state: inherited,
      writers: self.database(source)?.writers ?? Writers()
    )
    state.withLock { state in
      state.databases[name] = database
      state.databases[source] = nil
    }
    watch(database)
    let entry = try database.state.withLock { state throws(StoreError) in
      try database.captureAll(in: &state, database.recorder)
    }
    if entry != nil { tellCommitted(database) }
  }

  /// Whether a wal-index can be looked at on the mount's own thread.
  var mayTouchIndexInline: Bool { context.mountedAt.withLock { $0 == nil } }

  /// The wal-index, mapped where that has not been done and it is there.
  ///
  /// Without the database's lock: where this goes through the mount it can wait for a request that
  /// in turn waits for that lock.
  func mapIndex(_ database: Database) -> WALIndex? {
    guard !context.isStopping.withLock({ $0 }), database.state.withLock({ $0.index == nil }),
      let file = try? context.disk.openForMapping(database.sharedMemoryPath),
      let memory = try? SharedMemory(file)
    else { return nil }
    return WALIndex(memory: memory)
  }

  /// Lets go of whatever is mapped through the mount, which is about to be taken down: a process
  /// that ends with such a mapping waits for itself. Blocks; never on the mount's thread.
  package func prepareToUnmount() {
    context.isStopping.withLock { $0 = true }
    for database in allDatabases {
      let mapped = database.state.withLock { state -> WALIndex? in
        defer { state.index = nil }
        return state.index
      }
      withExtendedLifetime(mapped) {}
    }
  }

  /// Tells the store that shared memory must be reached through the mount at this path.
  package func reachSharedMemory(through mount: String?) {
    context.mountedAt.withLock { $0 = mount }
    for database in allDatabases {
      let old = database.state.withLock { state -> WALIndex? in
        defer { state.index = nil }
        return state.index
      }
      guard old != nil, let mapped = mapIndex(database) else { continue }
      database.state.withLock { $0.index = mapped }
    }
  }
}

extension Database {
  /// Where the daemon maps the wal-index from: beside the database, or, where the kernel's cache
  /// stands between, through the daemon's own mount.
  var sharedMemoryPath: String {
    (context.mountedAt.withLock { $0 } ?? context.tree) + "/" + name + "-shm"
  }

  /// Whether the main file is as it was when it last agreed with the log.
  func isUnchanged(_ state: inout DatabaseState) throws(StoreError) -> Bool {
    let main = try mainFile(&state)
    let now = try main.known()
    if state.known == now, !state.isReplaced { return true }
    guard let header = try DatabaseHeader.read(main) else { return state.pages == 0 }
    // With a write-ahead log the main file changes by checkpoints alone, which change nothing.
    // Once the log is gone, nothing but a transaction may change it.
    if header.readVersion == 2, state.pages > 0, state.wal.header != nil {
      state.known = now
      return true
    }
    if state.isReplaced { return false }
    if state.known != nil, state.pages > 0, !state.uncompared,
      !writers.mayHaveChanged(now.information)
    {
      // Nobody who could make a transaction has touched it. What differs is damage, which the
      // scrub finds, and must not become a part of the database.
      state.known = now
      state.isDoubted = true
      return true
    }
    return false
  }

  /// Whether a client has the database to itself (`locking_mode=EXCLUSIVE`), and then needs no lock for
  /// the write-ahead log and its index, nor may have an index at all.
  var isKeptByOne: Bool { mainLocks.isLocked(MainLock.shared, .write) }

  /// Whether a rollback journal is to be played back before anybody looks at the main file.
  func hasHotJournal() throws(StoreError) -> Bool {
    guard let file = try journalFile() else { return false }
    return try RollbackJournal(file) != nil
  }

  /// Performs `body` while the daemon has a SHARED lock, once writers let it.
  func withSharedLock(_ body: () -> Void) {
    // One after the other, for all of them have the daemon's one lock.
    reading.withLock { _ in
      // On a replica the daemon is a reader for good.
      if mainLocks.holds(owner: .daemon, range: MainLock.shared, kind: .read) { return body() }
      let request = LockRequest(
        owner: .daemon,
        kind: .read,
        range: MainLock.shared,
        isBrief: true
      )
      let granted = Gate()
      mainLocks.set(request, wait: true) { _ in granted.open() }
      granted.wait()
      body()
      mainLocks.unlock(owner: .daemon, range: MainLock.shared)
    }
  }

  /// Whether the wal-index, if it is at hand, shows just the captured frames.
  func agreesWithIndex(_ state: DatabaseState) -> Bool {
    guard let index = state.index, hasHeader(index) else { return false }
    return agrees(state, index)
  }

  /// Whether the file of the wal-index is there as far as its header goes: what is mapped behind the end of
  /// a file must not be touched.
  func hasHeader(_ index: WALIndex) -> Bool {
    guard let size = try? index.memory.size() else { return false }
    return size >= SharedMemory.regionBytes
  }

  /// The same, for an index whose file is known to have a header.
  func agrees(_ state: DatabaseState, _ index: WALIndex) -> Bool {
    guard index.frames == state.wal.frames else { return false }
    guard let wal = state.wal.header, index.frames > 0 else { return true }
    return index.isOf(wal)
  }
}
