@testable import Lease
import LTX
import Replication
@testable import Store

// What a replica does with what comes from its primary.

extension Simulation {
  mutating func work(_ directive: ReplicaSession.Directive, _ id: Int) {
    guard let at = place(id) else { return }
    let node = connections[at].replica
    switch directive {
    case .summarize: connections[at].session.summarized(summary(node))
    case .observe: connections[at].session.observed(state(node), at: nodes[node].now(time))
    case .readChecksums(let snapshot, let name):
      guard let number = SimulatedStore.number(name) else { return }
      let store = nodes[node].store
      let database = store.staging[number]?.database ?? store.databases[number]
      let checksums = database.pages.enumerated().map { SimulatedStore.checksum($0, $1) }
      connections[at].session.checksums(snapshot, .success(checksums), at: nodes[node].now(time))
    case .perform(let work):
      let result = Result { () throws(StoreError) in
        try perform(work, node, Term(connections[at].session.term.rawValue))
        return state(node)
      }
      // It may have closed meanwhile what it wants to hear of this.
      guard let at = place(id) else { return }
      connections[at].session.finished(result, at: nodes[node].now(time))
    case .send, .setReading, .repairFailed, .grantAnswered, .close: break
    }
  }

  private func state(_ node: Int) -> SinkState {
    let (log, store) = (nodes[node].log, nodes[node].store)
    var durable = defect == .acknowledgeBeforeDurable ? log.entries.count : log.durable
    // So that a primary can begin its term, but clients do not rely on it.
    if store.isReset { durable = min(durable, log.startOfLastTerm) }
    return SinkState(
      progress: ReplicaProgress(
        received: LogIndex(UInt64(log.entries.count)),
        durable: LogIndex(UInt64(durable)),
        applied: LogIndex(UInt64(store.databases.map(\.entry).min() ?? 0)),
        repairing: store.repairs.count
      ),
      repairs: store.repairs.sorted().map(SimulatedStore.name)
    )
  }

  private mutating func perform(
    _ work: ReplicaSession.Work,
    _ node: Int,
    _ term: Term
  ) throws(StoreError) {
    switch work {
    case .prepare(let preparation):
      try fence(node, preparation.term)
      switch preparation.plan {
      case .stream: break
      case .truncate(let common): truncate(node, Int(common.rawValue))
      case .reset(let base): reset(node, base)
      }
    case .append(let batch):
      try fence(node, term)
      append(node, batch)
    case .beginSnapshot(let begin):
      guard let number = SimulatedStore.number(begin.database) else { return }
      let store = nodes[node].store
      let database = store.staging[number]?.database ?? store.databases[number]
      nodes[node].store.staging[number] = SimulatedStore.Staging(begin: begin, database: database)
    case .addSnapshot(let name, let pages):
      guard let number = SimulatedStore.number(name) else { return }
      for page in pages {
        nodes[node].store.staging[number]?.database.pages[Int(page.number.rawValue) - 1] =
          Self.number(page.bytes)
      }
    case .endSnapshot(let name, let end): try install(node, name, end)
    case .dropDatabase(let name): failure = "n\(node) is to drop \(name), which every primary has"
    }
  }

  private mutating func fence(_ node: Int, _ term: Term) throws(StoreError) {
    guard nodes[node].reign == nil, LeaseTerm(term.rawValue) >= nodes[node].log.fence else {
      throw StoreError(.stopped, "term \(term) is over")
    }
    nodes[node].log.fence = LeaseTerm(term.rawValue)
  }

  private mutating func append(_ node: Int, _ batch: LogBatch) {
    let size = Int(Self.pageBytes)
    for start in stride(from: 0, to: batch.bytes.count, by: size) {
      nodes[node].log.entries.append(made[Self.number(batch.bytes[start..<(start + size)])])
    }
    let count = nodes[node].log.entries.count
    guard count == Int(batch.last.rawValue) else {
      return failure = "n\(node) has \(count) entries and was sent those up to \(batch.last)"
    }
    if !batch.bytes.isEmpty { flush(node, leader: nil, term: .zero) }
    nodes[node].store.commits.advance(to: min(batch.commit, LogIndex(UInt64(count))))
    learnCommits(node)
  }

  /// Entries that another primary does not have are cut, and the databases that they touched are fetched.
  private mutating func truncate(_ node: Int, _ common: Int) {
    note("n\(node) cuts its log after \(common)")
    if common < nodes[node].applied {
      failure = "n\(node) cuts entry \(common + 1), which is committed"
    }
    for number in Set(nodes[node].log.entries[common...].compactMap(\.change?.database)).sorted() {
      nodes[node].store.repairs.insert(number)
      nodes[node].store.damaged.remove(number)
      note("n\(node) has to fetch database \(number)")
    }
    forgetAttempts(node)
    nodes[node].log.truncate(to: common)
    nodes[node].store.commits.cut(
      to: LogIndex(UInt64(common)),
      StoreError(.stopped, "cut")
    )
  }

  /// The log begins anew behind an entry that is committed; all databases are to be fetched.
  private mutating func reset(_ node: Int, _ base: EntryID) {
    note("n\(node) begins anew after \(base)")
    let index = Int(base.index.rawValue)
    guard index <= committed.count,
      index == 0 || committed[index - 1].term.rawValue == base.term.rawValue
    else {
      return failure = "n\(node) begins anew after \(base), which is not committed"
    }
    forgetAttempts(node)
    nodes[node].log.entries = Array(committed[..<index])
    nodes[node].log.first = index + 1
    nodes[node].log.durable = index
    nodes[node].log.version += 1
    nodes[node].applied = index
    nodes[node].store.commits.reset(to: base.index, StoreError(.stopped, "reset"))
    nodes[node].store.storedCommit = index
    nodes[node].store.staging = [:]
    nodes[node].store.isReset = true
    nodes[node].store.damaged = []
    nodes[node].store.repairs = Set(nodes[node].store.databases.indices)
  }

  /// A database has come: its pages, over them the entries that were written meanwhile.
  private mutating func install(_ node: Int, _ name: String, _ end: SnapshotEnd) throws(StoreError)
  {
    guard let number = SimulatedStore.number(name),
      let staging = nodes[node].store.staging.removeValue(forKey: number)
    else { throw StoreError(.invalid, "a snapshot that did not begin") }
    let log = nodes[node].log
    let (first, last) = (Int(staging.begin.index.rawValue), Int(end.index.rawValue))
    guard last <= log.entries.count, first + 1 >= log.first || first >= last else {
      throw StoreError(.invalid, "the entries of the snapshot are not here")
    }
    var database = staging.database
    if first < last, defect != .snapshotWithoutItsEntries {
      for entry in log.entries[first..<last] {
        if let change = entry.change, change.database == number { database.apply(change) }
      }
    }
    database.sums = database.pages
    database.transaction = Int(end.position.txid.rawValue)
    guard database.position == end.position || defect == .snapshotWithoutItsEntries else {
      throw StoreError(.corrupt, "the snapshot is not at its position")
    }
    database.entry = defect == .snapshotAtItsBegin ? max(first, last) + 1 : last
    database.undecided = 0
    nodes[node].store.databases[number] = database
    nodes[node].store.stored[number] = database
    nodes[node].log.durable = max(log.durable, last)
    nodes[node].store.repairs.remove(number)
    nodes[node].store.damaged.remove(number)
    if nodes[node].store.repairs.isEmpty { nodes[node].store.isReset = false }
    note("n\(node) has database \(number) at entry \(last)")
    checkContent(node, number)
    applyLater(node, number)
  }
}
