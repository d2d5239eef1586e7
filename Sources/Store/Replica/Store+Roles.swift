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
    let lending = state.withLock { state in
      state.role = .undecided
      return state.lending
    }
    lending?.end()
    for database in allDatabases {
      database.isLeaving.store(true, ordering: .releasing)
      refuseWriters(of: database)
    }
    // They undo their transactions as those of a node that is not the primary.
    log.refuseWaiting()
  }

  /// Others may have this node's log, and nothing of its databases, until `abandonTerm`.
  package func lendLog() { state.withLock { $0.isOpening = true } }

  /// Ends a term that was opened before clients could write.
  package func abandonTerm() {
    state.withLock { $0.isOpening = false }
    log.stopWriting()
    log.refuseWaiting()
  }

  /// Follows a primary from now on, while clients may have databases open.
  ///
  /// - Parameter engine: made after `stepDown`.
  package func follow(_ engine: ReplicaEngine) {
    let lending = state.withLock { state in
      defer { state.lending = nil }
      state.role = .replica
      return state.lending
    }
    // What replicas have written and is not in the files yet.
    for (name, left) in lending?.takeUnapplied() ?? [:] { engine.takeUp(left, of: name) }
    engine.takeOver(allDatabases)
  }

  /// Ends following a primary: every entry of the log must have been applied.
  ///
  /// - Returns: clients that wait to write, to be answered once they may.
  func stopFollowing() -> [ParkedWriters.Answer] {
    let engine = state.withLock { state -> ReplicaEngine? in
      defer { state.engine = nil }
      return state.engine
    }
    let parked = engine?.end() ?? []
    for database in allDatabases {
      // Not while a snapshot reader or the scrub is at work under the same locks.
      database.reading.withLock { _ in database.releaseDaemonLocks() }
    }
    return parked
  }

  /// Lets nobody begin to write a database.
  func refuseWriters(of database: Database) {
    guard configuration.changesRoles else { return }
    if configuration.forwards, let engine = state.withLock({ $0.engine }) {
      return engine.borrowing.watch(database)
    }
    database.sharedMemoryLocks.setGuard(range: WALLock.writers) { $1(Self.walRefusal) }
    database.mainLocks.setGuard(range: MainLock.pending) { $1(Self.mainRefusal) }
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
    !isWriter(of: name.database) && isReplicated(name.database) && !isUndone(name)
  }

  /// Whether the end of a journal is the end of a transaction.
  func endsTransactions(_ name: FileName) -> Bool { isWriter(of: name.database) || isUndone(name) }

  private func isUndone(_ name: FileName) -> Bool {
    guard name.role == .main || name.role == .journal, let database = database(name.database)
    else { return false }
    return database.isLeaving.load(ordering: .acquiring)
      && database.mainLocks.isLocked(LockRange(0, .max), .write)
  }
}
