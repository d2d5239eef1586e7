import LTX
import Synchronization

extension Store {
  /// Bytes of log behind the last stable point after which a database is flushed.
  package static let flushEvery: Int64 = 64 << 20

  /// One round of housekeeping: checkpoints what has grown, makes files stable, trims and packs the log.
  ///
  /// Blocks; to be called every few seconds on a thread of its own.
  ///
  /// - Parameter everything: also flush databases that have changed little.
  /// - Returns: whether much memory was needed, as for packing a segment of the log, which is free again.
  @discardableResult
  package func maintain(everything: Bool = false) throws(StoreError) -> Bool {
    for database in allDatabases {
      if isWriter(of: database) {
        try captureKept(database)
        try checkpointIfLarge(database)
      } else if role != .undecided {
        try checkpointApplied(database)
      }
      // Where it cannot be removed, it stays.
      try? database.releaseIdleJournal()
      try database.flush(log: log, disk: context.disk, directory: context.stateDirectory)
    }
    try state.withLock({ $0.engine })?.settle()
    let redo = try saveRedoStart()
    try trim(redo)
    // That takes room before it gives any.
    guard configuration.compress, !context.health.isFull else { return false }
    return try log.packClosed()
  }

  /// Lets go of what large transactions needed.
  ///
  /// - Returns: whether there was anything.
  package func releaseLarge() -> Bool {
    allDatabases.reduce(false) { found, database in
      database.state.withLock { $0.releaseLarge() } || found
    }
  }

  /// A write-ahead log that no client ever checkpoints would pin the log for ever.
  private func checkpointIfLarge(_ database: Database) throws(StoreError) {
    guard !database.isKeptByOne else { return }
    let last = database.state.withLock { state in
      state.entry > state.backfilled && state.wal.frames >= Database.checkpointFrames
        ? state.entry : nil
    }
    guard let last else { return }
    if role == .primary {
      try log.confirmAndWait(through: log.last.index)
    } else {
      // Of what this node was given to write: what is not committed yet will be by the next round.
      guard last <= log.committed else { return }
      try log.syncAndWait(through: last)
    }
    let mapped = mapIndex(database)
    try database.state.withLock { state throws(StoreError) in
      // The writer of the moment must not be between its frames and their place in the index.
      guard database.sharedMemoryLocks.tryLock(.write, WALLock.write, briefly: true) else { return }
      defer { database.sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.write) }
      _ = database.reconcile(&state, mapped: mapped)
      _ = try database.checkpoint(in: &state)
    }
  }

  /// Where the node alone writes, nobody else checkpoints.
  private func checkpointApplied(_ database: Database) throws(StoreError) {
    let entry = database.state.withLock { state in
      state.entry > state.backfilled && database.isInWALMode(state) ? state.entry : nil
    }
    guard let entry else { return }
    try log.syncAndWait(through: entry)
    try database.state.withLock { state throws(StoreError) in
      // More may have been applied meanwhile, and not be durable.
      if state.entry == entry { _ = try database.checkpoint(in: &state) }
    }
  }

  /// Removes segments that neither redo nor a replica nor the time limit asks for; beyond the
  /// size limit only redo counts.
  private func trim(_ redo: LogIndex) throws(StoreError) {
    let (bytes, closed) = log.usage()
    let slowest = state.withLock { $0.replicas.values.min() } ?? .max
    let now = context.clock.milliseconds
    var total = bytes
    var keep = LogIndex.zero
    for segment in closed {
      let isOld = segment.milliseconds &+ configuration.retentionMilliseconds < now
      let isNeeded = segment.last >= slowest
      // On a full disk the log gives way: replicas that are behind can get snapshots.
      let mustGo = total > configuration.maxLogBytes || context.health.isFull
      guard segment.last < redo, mustGo || (isOld && !isNeeded) else {
        break
      }
      total -= segment.bytes
      keep = segment.last.next
    }
    if keep > .zero { try log.trim(before: keep) }
  }

  /// Leaves everything as a start without redo wants it: write-ahead logs in the main files,
  /// page checksums and positions on disk. To be called when no client has a database open.
  package func shutDown() throws(StoreError) {
    try log.syncAndWait(through: log.last.index)
    for database in allDatabases {
      try database.state.withLock { state throws(StoreError) in
        try database.checkpointAlone(in: &state)
        state.index = nil
        state.wal.forget()
        state.walFile = nil
        if state.pages > 0 { state.backfilled = state.entry }
      }
      try database.releaseJournal()
      try database.flush(log: log, disk: context.disk, directory: context.stateDirectory)
      guard database.published.position.txid > .zero else { continue }
      for suffix in ["-wal", "-shm"] {
        let path = database.path(suffix)
        if try context.disk.information(path) != nil { try context.disk.remove(path) }
      }
    }
    _ = try saveRedoStart()
    log.close()
  }

  /// Begins a term with an entry that does nothing; clients still cannot write.
  ///
  /// - Precondition: `term` is above that of the log's last entry.
  /// - Returns: the entry.
  package func open(_ term: Term) throws(StoreError) -> LogIndex {
    let engine = state.withLock { state in
      state.isOpening = true
      return state.engine
    }
    engine?.borrowing.supersede()
    try log.begin(term)
    return log.last.index
  }

  /// This node is the primary from now on, in this term. Clients may have databases open.
  ///
  /// - Precondition: `term` is above that of the log's last entry, or was opened, and all entries have been
  ///   applied.
  package func becomePrimary(_ term: Term) throws(StoreError) {
    if log.last.term < term { _ = try open(term) }
    try log.syncAndWait(through: log.last.index)
    let hasFollowed = role == .replica
    let parked = hasFollowed ? stopFollowing() : []
    state.withLock { state in
      state.role = .primary
      state.isOpening = false
      if configuration.forwards { state.lending = Lending(store: self) }
    }
    for database in allDatabases { admitWriters(of: database) }
    for answer in parked { answer(nil) }
    // Those of a replica are the daemon's, and clients may have them open.
    if !hasFollowed { try takeUpLogs() }
    for database in allDatabases where database.state.withLock({ $0.strayed }) {
      try captureStrayed(database)
    }
    try adoptTree("")
  }

  /// Free pages that an interrupted transaction wrote over become part of the database as they are;
  /// what differs elsewhere is damage.
  func captureStrayed(_ database: Database) throws(StoreError) {
    let entry = try database.state.withLock { state throws(StoreError) in
      state.known = nil
      try database.noteDamageInUse(in: &state)
      let entry = try database.captureAll(in: &state, database.recorder)
      state.strayed = false
      return entry
    }
    if let entry { try log.confirmAndWait(through: entry) }
    try database.removeJournal()
  }

  /// Takes up databases that came into the tree while the node did not run.
  private func adoptTree(_ directory: String) throws(StoreError) {
    let path = directory.isEmpty ? context.tree : context.tree + "/" + directory
    for entry in try context.disk.list(path) {
      let name = directory.isEmpty ? entry : directory + "/" + entry
      guard let information = try context.disk.information(context.tree + "/" + name) else {
        continue
      }
      if information.isDirectory {
        try adoptTree(name)
      } else if FileName(name).role == .main, database(name) == nil {
        try foldCompanions(name)
        try adoptIfDatabase(name)
      }
    }
  }
}

extension LogIndex {
  static let max = LogIndex(UInt64.max)
}
