import LTX
import Store
import Synchronization

/// A primary's store in memory.
final class FakeSource: ReplicationSource {
  struct State: Sendable {
    var term = Term(1)
    var log = FakeLog()
    var databases: [String: FakeDatabase] = [:]
    /// Entries before this one are no longer in memory.
    var recentFrom = LogIndex(1)
    var needs: [String: LogIndex] = [:]
    /// What each replica was counted with.
    var counted: [String: LogIndex] = [:]
    /// The last committed entry; nil where all of them are.
    var commit: LogIndex?
    var wakes: [Int: @Sendable () -> Void] = [:]
    var nextWake = 0
    var snapshotsOpened = 0
    var pagesRead = 0
    var failSnapshots = false
    var isWhole = true
    /// One for each connection that was admitted.
    var lenders: [FakeLender] = []
    /// Replicas whose earlier connections may append nothing any more, with how many had been lent to by then.
    var lentNoMore: [(name: String, lenders: Int)] = []
    /// What requests are answered with at once; nil for nothing.
    var reply: (@Sendable (GrantRequest) -> GrantAnswer?)?

    func batch(from first: LogIndex, maxBytes: Int) -> LogBatch? {
      guard var batch = log.batch(from: first, maxBytes: maxBytes) else { return nil }
      batch.commit = commit ?? batch.last
      return batch
    }
  }
  let state = Mutex(State())

  /// Writes one page and wakes the subscribers; the entry's index.
  @discardableResult
  func commit(_ database: String, page: UInt32, fill: UInt8, ballast: Int = 0) -> LogIndex {
    let (index, wakes) = state.withLock { state in
      let id = EntryID(term: state.term, index: state.log.last.index.next)
      let entry = FakeEntry(id: id, database: database, page: page, fill: fill, ballast: ballast)
      state.log.append(entry)
      state.databases[database, default: FakeDatabase()].apply(entry)
      return (id.index, Array(state.wakes.values))
    }
    for wake in wakes { wake() }
    return index
  }

  func logSummary() -> LogSummary { state.withLock { $0.log.summary } }

  func databases() -> [DatabaseSummary] {
    state.withLock { state in
      state.databases.map { name, database in
        DatabaseSummary(
          name: name,
          position: database.position,
          pageSize: UInt32(FakeDatabase.pageSize),
          pages: UInt32(database.pages.count)
        )
      }
    }
  }

  func recent(from first: LogIndex, maxBytes: Int) -> LogBatch? {
    state.withLock { state in
      first < state.recentFrom ? nil : state.batch(from: first, maxBytes: maxBytes)
    }
  }

  func read(from first: LogIndex, maxBytes: Int) throws(StoreError) -> LogBatch {
    guard let batch = state.withLock({ $0.batch(from: first, maxBytes: maxBytes) }) else {
      throw StoreError(.notFound, "entry \(first) was removed")
    }
    return batch
  }

  func onAppend(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let id = state.withLock { state in
      state.nextWake += 1
      state.wakes[state.nextWake] = wake
      return state.nextWake
    }
    return SubscriptionToken { [weak self] in
      _ = self?.state.withLock { $0.wakes.removeValue(forKey: id) }
    }
  }

  var committedEntry: EntryID { logSummary().last }

  var isWhole: Bool { state.withLock { $0.isWhole } }

  var isAwaited: Bool { state.withLock { $0.commit != nil } }

  func acknowledged(by node: String, through index: LogIndex) {
    state.withLock { $0.counted[node] = index }
  }

  func endLending(to node: String) {
    state.withLock { $0.lentNoMore.append((node, $0.lenders.count)) }
  }

  func lender(
    to node: String,
    answer: @escaping @Sendable (GrantAnswer) -> Void
  ) -> any GrantLender {
    let lender = FakeLender(source: self, node: node, answer: answer)
    state.withLock { $0.lenders.append(lender) }
    return lender
  }

  func noteReplica(_ node: String, needs index: LogIndex?) {
    state.withLock { $0.needs[node] = index }
  }

  func openSnapshot(
    of database: String,
    checksums: [Checksum]
  ) throws(StoreError) -> any SnapshotSource {
    let snapshot = state.withLock { state -> FakeSnapshot? in
      guard let found = state.databases[database] else { return nil }
      state.snapshotsOpened += 1
      let mine = found.checksums
      let differing = mine.indices.filter { $0 >= checksums.count || checksums[$0] != mine[$0] }
      return FakeSnapshot(
        source: self,
        begin: SnapshotBegin(
          database: database,
          index: state.log.last.index,
          pageSize: UInt32(FakeDatabase.pageSize),
          pages: UInt32(found.pages.count),
          differing: UInt32(differing.count)
        ),
        differing: differing.map { UInt32($0 + 1) }
      )
    }
    guard let snapshot else { throw StoreError(.notFound, "no database \(database)") }
    if state.withLock({ $0.failSnapshots }) { throw StoreError(.busy, "not now") }
    return snapshot
  }
}

final class FakeSnapshot: SnapshotSource {
  let begin: SnapshotBegin
  private let source: FakeSource
  private let left: Mutex<ArraySlice<UInt32>>

  init(source: FakeSource, begin: SnapshotBegin, differing: [UInt32]) {
    self.source = source
    self.begin = begin
    left = Mutex(differing[...])
  }

  func next(maxBytes: Int) throws(StoreError) -> [SnapshotPage]? {
    let numbers = left.withLock { left in
      let taken = left.prefix(max(1, maxBytes / FakeDatabase.pageSize))
      left = left.dropFirst(taken.count)
      return taken
    }
    guard !numbers.isEmpty else { return nil }
    return source.state.withLock { state in
      state.pagesRead += numbers.count
      let pages = state.databases[begin.database]?.pages ?? []
      return numbers.map { number in
        SnapshotPage(
          number: PageNumber(number),
          bytes: [UInt8](repeating: pages[Int(number) - 1], count: FakeDatabase.pageSize)
        )
      }
    }
  }

  func end() throws(StoreError) -> SnapshotEnd {
    source.state.withLock { state in
      let database = state.databases[begin.database] ?? FakeDatabase()
      return SnapshotEnd(
        index: state.log.last.index,
        position: database.position,
        pages: UInt32(database.pages.count)
      )
    }
  }
}
