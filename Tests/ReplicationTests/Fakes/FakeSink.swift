import LTX
import Store
import Synchronization

/// A replica's store in memory. Entries are applied when they are appended.
final class FakeSink: ReplicationSink {
  struct State: Sendable {
    var log = FakeLog()
    var databases: [String: FakeDatabase] = [:]
    var repairs: Set<String> = []
    var quarantined: [FakeEntry] = []
    var staging: [String: (begin: SnapshotBegin, database: FakeDatabase)] = [:]
    var wakes: [Int: @Sendable () -> Void] = [:]
    var nextWake = 0
    var truncations: [LogIndex] = []
    var resets: [EntryID] = []
    var snapshotsInstalled = 0
    var pagesTaken = 0
    var batches = 0
    var failNextEnd = false
    var failAppends: StoreError?
    /// Asks the primary for grants; nil while it cannot be asked.
    var send: (@Sendable (GrantRequest) -> Void)?
    /// The primary's last entry at each welcome after which it could be asked.
    var connections: [LogIndex] = []
    var grantAnswers: [GrantAnswer] = []
    var disconnections = 0
    /// Called at the begin of each append, outside the lock.
    var appendHook: (@Sendable (LogBatch) -> Void)?
    /// Called for each chunk of pages, outside the lock.
    var pagesHook: (@Sendable () -> Void)?
  }
  let state = Mutex(State())

  /// Entries the replica has, as with data of an earlier primary.
  func preload(_ entries: [FakeEntry]) {
    state.withLock { state in
      for entry in entries {
        state.log.append(entry)
        state.databases[entry.database, default: FakeDatabase()].apply(entry)
      }
    }
  }

  let isAwaited = false

  func logSummary() -> LogSummary { state.withLock { $0.log.summary } }

  func truncate(after common: LogIndex) throws(StoreError) {
    state.withLock { state in
      let cut = state.log.cut(after: common)
      state.quarantined += cut
      state.repairs.formUnion(cut.map(\.database))
      state.truncations.append(common)
    }
  }

  func reset(to base: EntryID, databases: [DatabaseSummary]) throws(StoreError) {
    state.withLock { state in
      state.quarantined += state.log.entries
      state.log = FakeLog(base: base)
      let names = Set(databases.map(\.name))
      state.databases = state.databases.filter { names.contains($0.key) }
      state.repairs = names
      state.resets.append(base)
    }
  }

  func databasesToRepair() -> [String] { state.withLock { $0.repairs.sorted() } }

  func append(_ batch: LogBatch) throws(StoreError) {
    if let hook = state.withLock({ $0.appendHook }) { hook(batch) }
    if let error = state.withLock({ $0.failAppends }) { throw error }
    if batch.bytes.isEmpty { return }
    let entries = try FakeEntry.decode(batch.bytes)
    guard entries.first?.id.index == batch.first, entries.last?.id.index == batch.last else {
      throw StoreError(.corrupt, "the batch does not hold what it says")
    }
    let isContiguous = state.withLock { state in
      for entry in entries {
        guard entry.id.index == state.log.last.index.next else { return false }
        state.log.append(entry)
        if !state.repairs.contains(entry.database) {
          state.databases[entry.database, default: FakeDatabase()].apply(entry)
        }
      }
      state.batches += 1
      return true
    }
    guard isContiguous else { throw StoreError(.diverged, "the batch does not follow the log") }
    wake()
  }

  private func wake() {
    for wake in state.withLock({ Array($0.wakes.values) }) { wake() }
  }

  func progress() -> ReplicaProgress {
    state.withLock { state in
      let last = state.log.last.index
      return ReplicaProgress(
        received: last,
        durable: last,
        applied: last,
        repairing: state.repairs.count
      )
    }
  }

  func onProgress(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let id = state.withLock { state in
      state.nextWake += 1
      state.wakes[state.nextWake] = wake
      return state.nextWake
    }
    return SubscriptionToken { [weak self] in
      _ = self?.state.withLock { $0.wakes.removeValue(forKey: id) }
    }
  }

  /// Marks a database as damaged, as a failed check would.
  func damage(_ database: String) {
    state.withLock { state in
      _ = state.repairs.insert(database)
      state.databases[database]?.pages[0] ^= 0xff
    }
    wake()
  }

  func snapshotChecksums(of database: String) throws(StoreError) -> [Checksum] {
    state.withLock { state in
      (state.staging[database]?.database ?? state.databases[database])?.checksums ?? []
    }
  }

  func beginSnapshot(_ begin: SnapshotBegin) throws(StoreError) {
    state.withLock { state in
      let old = state.staging[begin.database]?.database ?? state.databases[begin.database]
      state.staging[begin.database] = (begin, old ?? FakeDatabase())
    }
  }

  func addSnapshot(_ database: String, _ pages: [SnapshotPage]) throws(StoreError) {
    if let hook = state.withLock({ $0.pagesHook }) { hook() }
    let isKnown = state.withLock { state in
      guard var staging = state.staging[database] else { return false }
      for page in pages {
        staging.database.apply(
          FakeEntry(id: .zero, database: database, page: page.number.rawValue, fill: page.bytes[0])
        )
      }
      state.staging[database] = staging
      state.pagesTaken += pages.count
      return true
    }
    guard isKnown else { throw StoreError(.invalid, "pages of a snapshot that did not begin") }
  }

  func endSnapshot(_ database: String, _ end: SnapshotEnd) throws(StoreError) {
    let isRight = state.withLock { state in
      guard let staging = state.staging.removeValue(forKey: database) else { return false }
      if state.failNextEnd {
        state.failNextEnd = false
        return false
      }
      var restored = staging.database
      restored.pages = Array(restored.pages.prefix(max(Int(end.pages), 0)))
      let entries = state.log.entries.filter { $0.database == database }
      for entry in entries where entry.id.index > staging.begin.index && entry.id.index <= end.index
      {
        restored.apply(entry)
      }
      guard state.log.last.index >= end.index, restored.position == end.position else {
        return false
      }
      for entry in entries where entry.id.index > end.index { restored.apply(entry) }
      state.databases[database] = restored
      state.repairs.remove(database)
      state.snapshotsInstalled += 1
      return true
    }
    guard isRight else { throw StoreError(.corrupt, "the snapshot is not at its position") }
    wake()
  }

  func connected(through last: LogIndex, send: @escaping @Sendable (GrantRequest) -> Void) {
    state.withLock { state in
      state.connections.append(last)
      state.send = send
    }
  }

  func received(_ answer: GrantAnswer) { state.withLock { $0.grantAnswers.append(answer) } }

  func disconnected() {
    state.withLock { state in
      state.disconnections += 1
      state.send = nil
    }
  }

  func dropUnknown(_ database: String) throws(StoreError) {
    state.withLock { state in
      state.databases[database] = nil
      state.repairs.remove(database)
    }
    wake()
  }
}
