import Dispatch
import LTX
import Logging
import Synchronization

/// Takes the primary's entries in order and applies them, each database on its own, so that one
/// whose readers hold it up never holds up another.
package final class ReplicaEngine: ReplicationSink, ApplyingEngine {
  struct State {
    var appliers: [String: DatabaseApplier] = [:]
    /// Databases whose pages must come from the primary before their entries can be applied.
    var repairs: Set<String> = []
    /// The log was begun anew, and not all databases have come yet: what it holds is of no use by itself.
    var isReset = false
    /// Databases that were repaired through their write-ahead log, with the entry they were brought
    /// to: until that is stable in the main file, a restart has to repair them again.
    var unsettled: [String: LogIndex] = [:]
    var staged: [String: SnapshotStaging] = [:]
    /// The last entry that is in its database's queue, or needs none.
    var enqueued = LogIndex.zero
    /// Entries that databases have not applied yet, by database: the first of each.
    var waiting: [String: LogIndex] = [:]
    /// Large transactions of which parts have arrived, by database: the first part, and the entry
    /// that commits it once that is there. The parts must stay in the log until it is applied.
    var stages: [String: (first: LogIndex, commit: LogIndex?)] = [:]
    var subscribers: [UInt64: @Sendable () -> Void] = [:]
    var nextSubscriber: UInt64 = 0
    /// Databases that clients were writing when this node ceased to be the primary, and which the daemon
    /// has not taken over yet.
    var entering: Set<String> = []
    /// Databases whose last transactions of an earlier life of this node may yet be cut: nobody reads them.
    var undecided: Set<String> = []
    /// This node follows no primary any more.
    var hasEnded = false
    /// The term of the primary that is followed; nil where only one node can be it.
    var term: Term?
    /// Whether a sync of the log is about to begin that will cover whatever has come until then.
    var isSyncDue = false
  }

  /// How long entries wait for their sync.
  private static let syncMilliseconds = 50
  private let syncing = DispatchQueue(label: "halite.replica.sync")
  private let commits = Mutex<SubscriptionToken?>(nil)
  let entering = DispatchQueue(label: "halite.replica.entering")

  let store: Store
  /// The databases that this node's clients write.
  let borrowing: Borrowing
  let state = Mutex(State())
  /// Held while the list of repairs is written, so that the last one written is the last one made.
  private let saving = Mutex(())

  /// To be made after `Store.becomeReplica` and before the first entry arrives.
  package init(store: Store) throws(StoreError) {
    self.store = store
    borrowing = Borrowing(store)
    let listed = try RepairList.load(store.context)
    // What recovery could not bring to its position is fetched as well.
    let failed = store.allDatabases.filter { $0.published.failed != nil }.map(\.name)
    state.withLock { state in
      state.enqueued = store.log.last.index
      state.isReset = listed.contains(RepairList.reset)
      state.repairs = listed.union(failed).subtracting([RepairList.reset])
      if state.repairs.isEmpty { state.isReset = false }
    }
    if !listed.isSuperset(of: failed) { try saveRepairs() }
    for name in failed { try store.database(name)?.removeJournal() }
    store.state.withLock { $0.engine = self }
    // Whatever the log takes from now on is the primary's.
    log.stopWriting()
    let token = log.commits.onAdvance { [weak self] in self?.committed() }
    commits.withLock { $0 = token }
    guard store.configuration.forwards else { return }
    for database in store.allDatabases { borrowing.watch(database) }
  }

  private var log: Log { store.log }

  package func logSummary() -> LogSummary { log.summary() }

  // MARK: Entries

  package func append(_ batch: LogBatch) throws(StoreError) {
    let before = log.last.index
    var failure: StoreError?
    let term = state.withLock { $0.term }
    let entries = try log.entries(of: batch)
    do throws(StoreError) { try log.append(entries[...], under: term) } catch { failure = error }
    // Also after an error: what has come into the log is to be applied.
    let last = log.last.index
    log.learnCommit(batch.commit)
    enqueue(entries.lazy.map(\.entry).prefix { $0.id.index <= last })
    state.withLock { $0.enqueued = last }
    if last > before {
      if batch.commit < last { sync(through: last) } else { syncSoon() }
    }
    tellProgress()
    if let failure { throw failure }
  }

  /// More entries may be applied.
  private func committed() {
    let index = log.committed
    let ready = state.withLock { state in
      state.waiting.filter { $0.value <= index }.compactMap { state.appliers[$0.key] }
    }
    for applier in ready { applier.wake() }
    for name in state.withLock({ $0.undecided }) { applier(name).settleUndecided() }
  }

  /// Where nobody waits for it, durability follows behind, once for all that comes within a short while, and
  /// what a crash takes is fetched again. The primary learns of it from the next acknowledgement.
  private func syncSoon() {
    let isFirst = state.withLock { state in
      defer { state.isSyncDue = true }
      return !state.isSyncDue
    }
    guard isFirst else { return }
    syncing.asyncAfter(deadline: .now() + .milliseconds(Self.syncMilliseconds)) { [weak self] in
      guard let self else { return }
      state.withLock { $0.isSyncDue = false }
      sync(through: log.last.index)
    }
  }

  private func sync(through index: LogIndex) {
    log.sync(through: index) { [weak self] error in
      if error == nil { self?.tellProgress() }
    }
  }

  private func enqueue(_ entries: some Sequence<LogEntry>) {
    // Those of one database that come one behind the other go to its queue together.
    var run: (name: String, entries: [LogIndex]) = ("", [])
    func endRun() {
      if !run.entries.isEmpty { applier(run.name).enqueue(run.entries) }
      run.entries = []
    }
    for entry in entries {
      if entry.kind == .stagedTransaction { endRun() }
      noteStage(entry)
      switch entry.kind {
      case .noOperation, .stage: break
      case .stagedTransaction: applier(entry.database).enqueue([entry.id.index])
      case .transaction, .drop:
        if run.name != entry.database { endRun() }
        run.name = entry.database
        run.entries.append(entry.id.index)
      case .rename:
        endRun()
        applier(entry.database).enqueue([entry.id.index])
        applier(String(decoding: entry.payload, as: UTF8.self)).enqueue([entry.id.index])
      }
    }
    endRun()
  }

  func applier(_ name: String) -> DatabaseApplier {
    state.withLock { state in
      if let known = state.appliers[name] { return known }
      let applier = DatabaseApplier(name: name, engine: self)
      state.appliers[name] = applier
      return applier
    }
  }

  func holdsBack(_ name: String) -> Bool {
    state.withLock { $0.repairs.contains(name) || $0.entering.contains(name) }
  }

  func has(_ name: String, reached index: LogIndex) -> Bool {
    state.withLock { state in state.waiting[name].map { $0 >= index } ?? true }
  }

  func wakeAll() {
    for applier in state.withLock({ Array($0.appliers.values) }) { applier.wake() }
  }

  func setWaiting(_ name: String, _ index: LogIndex?) {
    state.withLock { $0.waiting[name] = index }
  }

  package func progress() -> ReplicaProgress {
    let received = log.last.index
    let durable = min(log.durable, received)
    let termStart = log.startOfLastTerm
    return state.withLock { state in
      // So that a primary can begin its term; its clients' transactions do not rely on a node without databases.
      let durable = state.isReset ? min(durable, termStart) : durable
      let first = state.waiting.values.min()
      let applied = first.map { LogIndex($0.rawValue &- 1) } ?? received
      return ReplicaProgress(
        received: received,
        durable: durable,
        applied: min(applied, received),
        repairing: state.repairs.count
      )
    }
  }

  package var isAwaited: Bool { log.last.index > log.committed }

  package func onProgress(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let key = state.withLock { state in
      state.nextSubscriber += 1
      state.subscribers[state.nextSubscriber] = wake
      return state.nextSubscriber
    }
    return SubscriptionToken { [weak self] in
      self?.state.withLock { $0.subscribers[key] = nil }
    }
  }

  func tellProgress() {
    for wake in state.withLock({ Array($0.subscribers.values) }) { wake() }
  }

  // MARK: Repair

  package func databasesToRepair() -> [String] {
    state.withLock { $0.repairs.subtracting($0.entering).sorted() }
  }

  func needsRepair(_ name: String) -> Bool { state.withLock { $0.repairs.contains(name) } }

  func retries(_: StoreError) -> Bool { false }

  /// Remembers, also across a restart, that a database's pages must be fetched.
  func markForRepair(_ names: Set<String>) throws(StoreError) {
    guard !names.isEmpty else { return }
    state.withLock { $0.repairs.formUnion(names) }
    try saveRepairs()
    tellProgress()
  }

  /// - Parameter index: the entry a database was brought to; nil when it is gone.
  func repaired(_ name: String, to index: LogIndex? = nil) throws(StoreError) {
    let isStable = index.map { self.isStable(name, $0) } ?? true
    state.withLock { state in
      state.unsettled[name] = isStable ? nil : index
      state.repairs.remove(name)
      state.staged[name] = nil
      if state.repairs.isEmpty { state.isReset = false }
    }
    try saveRepairs()
    applier(name).settleUndecided()
    applier(name).wake()
    tellProgress()
  }

  /// Takes off the list what has become stable since it was repaired.
  func settle() throws(StoreError) {
    let unsettled = state.withLock { $0.unsettled }
    let settled = unsettled.filter { isStable($0.key, $0.value) }
    guard !settled.isEmpty else { return }
    state.withLock { state in
      for (name, index) in settled where state.unsettled[name] == index {
        state.unsettled[name] = nil
      }
    }
    try saveRepairs()
  }

  private func isStable(_ name: String, _ index: LogIndex) -> Bool {
    guard let database = store.database(name) else { return true }
    return database.state.withLock { $0.stable >= index }
  }

  private func saveRepairs() throws(StoreError) {
    let result: Result<Void, StoreError> = saving.withLock { _ in
      let all = state.withLock { state in
        state.repairs.union(state.unsettled.keys).union(state.isReset ? [RepairList.reset] : [])
      }
      do throws(StoreError) {
        return .success(try RepairList.save(all, store.context))
      } catch { return .failure(error) }
    }
    try result.get()
  }

  /// The term of the primary that is followed, which the log now is in.
  ///
  /// - Throws: `.readOnly` when a later term is known.
  private func enterTerm() throws(StoreError) -> Term? {
    let term = state.withLock { $0.term }
    if let term { try log.enter(term) }
    return term
  }

  package func truncate(after common: LogIndex) throws(StoreError) {
    let term = try enterTerm()
    let last = log.last
    guard common < last.index else { return }
    borrowing.forget()
    var touched: Set<String> = []
    let quarantine = try Quarantine(store, "log-\(hexadecimal(common.next.rawValue))")
    try log.cut(after: common, under: term) { (batch) throws(StoreError) in
      var remaining = batch.bytes[...]
      while let (entry, length) = LogEntry.decode(remaining) {
        if !entry.database.isEmpty { touched.insert(entry.database) }
        if entry.kind == .rename { touched.insert(String(decoding: entry.payload, as: UTF8.self)) }
        remaining = remaining.dropFirst(length)
      }
      // What is about to be cut must be on record, and its databases known, before it goes.
      try quarantine.append(batch.bytes)
    } before: { () throws(StoreError) in
      try quarantine.close()
      try self.markForRepair(touched)
      // What is being applied ends; nothing more begins, for all of them need repair.
      for name in touched {
        try self.applier(name).alone { () throws(StoreError) in
          try self.store.database(name)?.forgetRefused()
        }
      }
    }
    store.context.logger.warning(
      "entries that the primary does not have were moved to quarantine",
      metadata: [
        "from": "\(common.next)", "to": "\(last.index)", "file": "\(quarantine.path)",
        "databases": "\(touched.sorted().joined(separator: ", "))",
      ]
    )
    for name in touched { applier(name).forgetQueue() }
    state.withLock { $0.enqueued = log.last.index }
  }

  package func reset(to base: EntryID, databases: [DatabaseSummary]) throws(StoreError) {
    let term = try enterTerm()
    borrowing.forget()
    let theirs = Set(databases.map(\.name))
    let ours = store.allDatabases.filter { $0.published.position.txid > .zero }
    state.withLock { $0.isReset = !theirs.isEmpty || !ours.isEmpty }
    try markForRepair(theirs.union(ours.map(\.name)))
    for name in state.withLock({ Array($0.appliers.keys) }) { applier(name).forgetQueue() }
    for database in ours {
      let name = database.name
      try applier(name).alone { () throws(StoreError) in
        try database.forgetRefused()
        if !theirs.contains(name) { try setAside(database) }
      }
      if !theirs.contains(name) { try repaired(name) }
    }
    try log.reset(to: base, under: term)
    state.withLock { $0.enqueued = base.index }
    tellProgress()
  }

  /// Moves a database that the primary does not have out of the tree.
  func setAside(_ database: Database) throws(StoreError) {
    let quarantine = try Quarantine(store, "db-\(hexadecimal(database.key))")
    try quarantine.close()
    let target = quarantine.path + ".db"
    try database.state.withLock { state throws(StoreError) in
      try database.checkpointAlone(in: &state)
      database.releaseDaemonLocks()
      try store.context.disk.rename(database.path(), to: target)
      for suffix in ["-wal", "-shm"] {
        let path = database.path(suffix)
        if try store.context.disk.information(path) != nil { try store.context.disk.remove(path) }
      }
    }
    let name = database.name
    try store.forget(database)
    store.context.logger.warning(
      "a database that the primary does not have was moved to quarantine",
      metadata: ["database": "\(name)", "file": "\(target)"]
    )
    store.tell(.dropped(name: name))
  }
}

extension ReplicaEngine {
  /// Databases with entries that are not applied yet, each with the first.
  package func waitingDatabases() -> [(name: String, index: LogIndex)] {
    state.withLock { state in
      state.waiting.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
  }
}
