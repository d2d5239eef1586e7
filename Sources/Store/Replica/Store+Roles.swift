import Glibc
import LTX
import Logging
import Synchronization

// A node whose role changes while clients have databases open.
//
// From primary to replica: at once nothing more is committed, since the log refuses it. Clients in the midst of a
// transaction see the error and roll back, by which they give up their locks; only then does the daemon take
// the database over (`takeOver`), and entries are applied to it. From replica to primary: everything in the log
// is applied first; then the daemon lets go of its locks, and clients go on with the descriptors they have.
//
// So that they can, clients may open databases for writing on any node whose role can change. What they do on a
// replica is refused where a transaction begins: the locks of a writer of the write-ahead log and of whoever is
// about to write the main file, and the creation of a journal.

extension Store {
  /// How long after the end of its time as primary a node takes databases over, in milliseconds: until
  /// then the kernel may believe what it was told of their files (`stability`).
  static let settlingMilliseconds = 60
  /// How often a database that a client is still writing is looked at, in milliseconds.
  static let takeOverMilliseconds = 20

  /// Commits nothing any more. Cheap; reads go on, and transactions that are under way are refused.
  package func stepDown() {
    log.stopWriting()
    state.withLock { $0.role = .undecided }
    for database in allDatabases {
      database.isLeaving.store(true, ordering: .releasing)
      refuseWriters(of: database)
    }
    // They undo their transactions as those of a node that is not the primary.
    log.refuseWaiting()
  }

  /// Ends a term that was opened before clients could write.
  package func abandonTerm() {
    log.stopWriting()
    log.refuseWaiting()
  }

  /// Follows a primary from now on, while clients may have databases open.
  ///
  /// - Parameter engine: made after `stepDown`.
  package func follow(_ engine: ReplicaEngine) {
    state.withLock { $0.role = .replica }
    engine.takeOver(allDatabases)
  }

  /// Ends following a primary: every entry of the log must have been applied.
  func stopFollowing() {
    let engine = state.withLock { state -> ReplicaEngine? in
      defer { state.engine = nil }
      return state.engine
    }
    engine?.end()
    for database in allDatabases {
      // Not while a snapshot reader or the scrub is at work under the same locks.
      database.reading.withLock { _ in database.releaseDaemonLocks() }
    }
  }

  /// Lets nobody begin to write a database.
  func refuseWriters(of database: Database) {
    guard configuration.changesRoles else { return }
    database.sharedMemoryLocks.setGuard(range: WALLock.writers) { $0(Self.walRefusal) }
    database.mainLocks.setGuard(range: MainLock.pending) { $0(Self.mainRefusal) }
  }

  func admitWriters(of database: Database) {
    database.isLeaving.store(false, ordering: .releasing)
    database.sharedMemoryLocks.setGuard(range: WALLock.writers, nil)
    database.mainLocks.setGuard(range: MainLock.pending, nil)
  }

  /// SQLite makes SQLITE_BUSY of whatever error a lock of the write-ahead log ends with.
  static let walRefusal = StoreError(.system(EAGAIN), "this node is not the primary")
  /// SQLITE_PERM, for whom no journal stopped that could not be created.
  static let mainRefusal = StoreError(.system(EPERM), "this node is not the primary")

  /// Whether a file is to be left as it is, since this node is not the primary: all that belongs to a database
  /// except what a client has to do to undo a transaction that it began before.
  func refusesChanges(of name: FileName) -> Bool {
    role != .primary && isReplicated(name.database) && !isUndone(name)
  }

  /// Whether the end of a journal is the end of a transaction.
  func endsTransactions(_ name: FileName) -> Bool { role == .primary || isUndone(name) }

  private func isUndone(_ name: FileName) -> Bool {
    guard name.role == .main || name.role == .journal, let database = database(name.database)
    else { return false }
    return database.isLeaving.load(ordering: .acquiring)
      && database.mainLocks.isLocked(LockRange(0, .max), .write)
  }
}

extension WALLock {
  /// What writers, checkpointers and whoever recovers the index take.
  static let writers = LockRange(write.start, recover.end)
}

/// What has come of an attempt to take a database over.
enum TakeOver {
  case done
  /// A client is in the midst of something.
  case later
  /// The files are not what the log says.
  case differs
}

extension Database {
  /// Makes the daemon the one writer of a database that clients may have open.
  func takeOver() throws(StoreError) -> TakeOver {
    // Whether the last transaction counts is not known yet, and nobody is to see it before.
    let last = state.withLock { $0.entry }
    if last > context.log.committed, last <= context.log.last.index {
      try undoRefused()
      return .later
    }
    let outcome = try takeOverDecided()
    if case .later = outcome { return outcome }
    state.withLock { $0.isRefused = false }
    return outcome
  }

  /// Plays back a journal that would keep readers out until it is decided what becomes of its transaction.
  private func undoRefused() throws(StoreError) {
    guard try hasHotJournal(), mainLocks.tryLock(.write, MainLock.pending, briefly: true) else {
      return
    }
    guard mainLocks.tryLock(.write, MainLock.shared, briefly: true) else {
      return mainLocks.unlock(owner: .daemon, range: MainLock.pending)
    }
    defer { unlockExclusive() }
    try state.withLock { state throws(StoreError) in
      state.isRefused = true
      try playBackJournal(in: &state)
    }
  }

  private func playBackJournal(in state: inout DatabaseState) throws(StoreError) {
    if let file = try context.disk.openIfPresent(path("-journal")),
      var journal = try RollbackJournal(file)
    {
      try journal.playBack(into: try mainFile(&state))
      state.known = nil
      state.isDoubted = true
    }
    try removeJournal()
  }

  private func takeOverDecided() throws(StoreError) -> TakeOver {
    // Whoever comes meanwhile waits, and is not refused.
    if mainLocks.tryLock(.write, MainLock.pending, briefly: true) {
      if mainLocks.tryLock(.write, MainLock.shared, briefly: true) {
        defer { unlockExclusive() }
        return try takeOverAlone()
      }
      mainLocks.unlock(owner: .daemon, range: MainLock.pending)
    }
    if try isSharedInWALMode() { return try takeOverShared() }
    // Readers of a database with a rollback journal; each transaction takes the locks it needs.
    guard !mainLocks.isLocked(LockRange(0, .max), .write) else { return .later }
    return try agrees() ? .done : .differs
  }

  /// Whether those who have it open use a write-ahead log.
  private func isSharedInWALMode() throws(StoreError) -> Bool {
    guard try context.disk.information(path("-shm")) != nil else { return false }
    return try state.withLock { state throws(StoreError) in
      try DatabaseHeader.read(try mainFile(&state))?.readVersion == 2
    }
  }

  /// Nobody else has it open, or at least nobody reads.
  private func takeOverAlone() throws(StoreError) -> TakeOver {
    try context.log.syncAndWait(through: context.log.last.index)
    return try state.withLock { state throws(StoreError) in
      guard state.failed == nil else { return .differs }
      try playBackJournal(in: &state)
      try checkpointAlone(in: &state)
      state.index = nil
      state.wal.forget()
      state.walFile = nil
      var isSame = try isIntact(&state)
      if !isSame { isSame = try redoLast(in: &state) }
      try enterWALModeIfSaid(in: &state)
      return isSame ? .done : .differs
    }
  }

  /// Makes a transaction again whose writer has undone it, being told that it failed.
  private func redoLast(in state: inout DatabaseState) throws(StoreError) -> Bool {
    guard state.isRefused, let size = state.pageSize else { return false }
    let entry = try context.log.entry(at: state.entry)
    guard entry.kind == .transaction || entry.kind == .stagedTransaction, entry.database == name
    else { return false }
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

  /// Clients read it by a write-ahead log.
  private func takeOverShared() throws(StoreError) -> TakeOver {
    guard !isKeptByOne, sharedMemoryLocks.tryLock(.write, WALLock.write) else { return .later }
    var isDone = false
    defer { if !isDone { sharedMemoryLocks.releaseAll(owner: .daemon) } }
    guard sharedMemoryLocks.tryLock(.read, WALLock.deadManSwitch),
      mainLocks.tryLock(.read, MainLock.shared)
    else { return .later }
    let seen = try context.disk.open(sharedMemoryPath, [.write])
    let index = WALIndex(memory: try SharedMemory(seen))
    let result = try state.withLock { state throws(StoreError) -> TakeOver in
      guard state.failed == nil, let size = state.pageSize else { return .differs }
      state.index = index
      let file = try context.disk.open(path("-wal"), [.write, .create])
      if let header = state.wal.header, let old = state.walFile,
        try old.information().isSameFile(as: try file.information())
      {
        state.walFile = file
        // Frames of a transaction that was refused are written over.
        state.wal.adopt(header, end: state.wal.captured, sum: state.wal.lastSum)
        if try index.header() == nil {
          guard try rebuild(index, header, file, in: &state) else { return .differs }
        }
        // A writer that was told that its transaction failed did not publish it.
        if state.isRefused, let shown = try index.header(), index.isOf(header) {
          try rollForward(index, shown, header, file, &state)
        }
        guard agrees(state, index) else { return .differs }
        // No client would set it for what is applied.
        markForReaders(index)
        return .done
      }
      // A log in which nothing has been committed yet: its first user has just come.
      if try index.header() != nil, index.frames > 0 { return .differs }
      state.walPages.removeAll()
      let wal = WALHeader(
        pageSize: size,
        sequence: 0,
        salt1: context.random(),
        salt2: context.random()
      )
      try beginWAL(wal, file, index, in: &state)
      state.walFile = file
      return try isIntact(&state) ? .done : .differs
    }
    isDone = true
    return result
  }

  /// Makes the index of a log whose frames have all been captured. Whoever has just come to the database has
  /// emptied it, and cannot do that by itself here.
  private func rebuild(
    _ index: WALIndex,
    _ header: WALHeader,
    _ file: any DiskFile,
    in state: inout DatabaseState
  ) throws(StoreError) -> Bool {
    var pages: [UInt32] = []
    if state.wal.frames > 0 {
      guard let found = try pageNumbers(1...state.wal.frames, header, file) else { return false }
      pages = found
    }
    try index.memory.grow(to: SharedMemory.regionBytes)
    try index.append(pages, after: 0)
    index.publish(
      WALIndex.Header(
        of: header,
        frames: state.wal.frames,
        pages: state.pages,
        sum: state.wal.lastSum
      )
    )
    index.resetCheckpointInformation()
    return true
  }

  private func agrees() throws(StoreError) -> Bool {
    try state.withLock { state throws(StoreError) in
      guard state.failed == nil else { return false }
      return try isIntact(&state)
    }
  }

  /// Whether the main file, of a database without a write-ahead log, is what the log says.
  private func isIntact(_ state: inout DatabaseState) throws(StoreError) -> Bool {
    guard let size = state.pageSize, state.pages > 0, let checksums = state.checksums else {
      return true
    }
    let main = try mainFile(&state)
    let now = try main.known()
    if state.known == now, !state.uncompared, !state.isDoubted, !state.isReplaced { return true }
    guard try main.checksums(size, pages: Int(state.pages)).total == checksums.total,
      now.information.size == Int64(state.pages) * Int64(size.bytes)
    else { return false }
    state.known = now
    state.uncompared = false
    state.isDoubted = false
    return true
  }
}
