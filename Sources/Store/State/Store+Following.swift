import LTX
import Synchronization

// Clients that write their write-ahead logs by themselves, see `Database.captureWritten`.

extension Store {
  /// Whether the kernel may pass the writes of an open write-ahead log to the disk.
  ///
  /// Not where a client has the database to itself: it takes no lock at whose end its commits could be
  /// captured.
  func follows(_ name: FileName, _ options: MountOpenOptions) -> Bool {
    guard followsLogs, name.role == .wal, role == .primary, mayTouchIndexInline,
      !options.contains(.truncate), let database = database(name.database), !database.isKeptByOne,
      isWriter(of: database)
    else { return false }
    database.isFollowed.store(true, ordering: .relaxed)
    database.logWasOpened.store(true, ordering: .releasing)
    return true
  }

  /// Answers a sync of a write-ahead log. Redo after a crash works from the log alone, so it is the log that
  /// must be durable.
  func syncLog(_ database: Database?, done: @escaping MountCompletion) {
    guard let database, database.isFollowed.load(ordering: .relaxed) else {
      return log.sync(through: log.last.index, done: done)
    }
    let inline = database.state.withLockIfAvailable { state in
      database.captureInline(database.presentReach(state), in: &state)
    }
    if case .yes(let entry) = inline {
      if entry != nil { tellCommitted(database) }
      return log.sync(through: log.last.index, done: done)
    }
    workers.async { [self] in
      do throws(StoreError) {
        let found = try database.state.withLock { state throws(StoreError) in
          try database.captureWritten(database.presentReach(state), in: &state)
        }
        if found.entry != nil { tellCommitted(database) }
        log.sync(through: log.last.index, done: done)
      } catch { done(error) }
    }
  }

  /// Looks at the write-ahead log of a client that keeps the database to itself, or takes no locks and so has
  /// no shared memory.
  func captureKept(_ database: Database) throws(StoreError) {
    guard database.isFollowed.load(ordering: .relaxed) else { return }
    let isAlone = try context.disk.information(database.path("-shm")) == nil
    guard isAlone || database.isKeptByOne else { return }
    let mapped = mapIndex(database)
    let entry = try database.state.withLock { state throws(StoreError) in
      if state.index == nil { state.index = mapped }
      return try database.captureWritten(isAlone ? .valid : .shown, in: &state).entry
    }
    if entry != nil { tellCommitted(database) }
  }

  /// Lets nobody write a database whose last transaction could not be captured; who asks for the lock makes
  /// the node try again.
  func guardLog(of database: Database) {
    guard database.isFollowed.load(ordering: .relaxed) else { return }
    let (isStalled, wasGuarded) = database.state.withLock { state in
      defer { state.isStallGuarded = state.stalled != nil }
      return (state.stalled != nil, state.isStallGuarded)
    }
    // Any other guard of that lock stays.
    guard isStalled || wasGuarded else { return }
    let retry: LockGuard = { [weak self, weak database] _, answer in
      guard let self, let database else { return answer(nil) }
      self.workers.async { answer(self.retryLog(of: database)) }
    }
    database.sharedMemoryLocks.setGuard(range: WALLock.write, isStalled ? retry : nil)
  }

  /// Tries again to capture what could not be captured.
  private func retryLog(of database: Database) -> StoreError? {
    if database.sharedMemoryLocks.tryLock(.write, WALLock.write, briefly: true) {
      defer { database.sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.write) }
      _ = settleLog(of: database, .shown)
    }
    return database.state.withLock { $0.stalled }
  }
}
