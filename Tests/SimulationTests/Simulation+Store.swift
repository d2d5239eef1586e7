@testable import Lease
import LTX
import Replication
@testable import Store

// What the sessions ask of the log and the databases of a node, and what clients do.

extension Simulation {
  /// A page, and what an entry takes in a batch: the number that no other has.
  static let pageBytes: UInt32 = 8

  // MARK: The log

  func summary(_ node: Int) -> LogSummary {
    let log = nodes[node].log
    var terms: [TermStart] = []
    for (place, entry) in log.entries.enumerated()
    where terms.last?.term.rawValue != entry.term.rawValue {
      terms.append(
        TermStart(term: Term(entry.term.rawValue), first: LogIndex(UInt64(place + 1)))
      )
    }
    return LogSummary(
      first: LogIndex(UInt64(log.first)),
      last: entryID(node, log.entries.count),
      terms: terms
    )
  }

  private func entryID(_ node: Int, _ index: Int) -> EntryID {
    EntryID(term: Term(nodes[node].log.term(index).rawValue), index: LogIndex(UInt64(index)))
  }

  func batch(_ node: Int, from first: LogIndex, maxBytes: Int) -> LogBatch? {
    let log = nodes[node].log
    let start = Int(first.rawValue)
    guard start >= log.first else { return nil }
    let count = max(1, maxBytes / Int(Self.pageBytes))
    let end = min(log.entries.count, start - 1 + count)
    let ids = start <= end ? log.entries[(start - 1)..<end].map(\.id) : []
    return LogBatch(
      first: first,
      last: LogIndex(UInt64(max(end, start - 1))),
      bytes: ids.flatMap(Self.bytes),
      commit: nodes[node].store.commits.index
    )
  }

  private static func bytes(_ number: Int) -> [UInt8] {
    (0..<Int(pageBytes)).reversed().map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  private static func number(_ bytes: some Sequence<UInt8>) -> Int {
    bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  /// Another voter has everything up to an entry on stable storage.
  mutating func acknowledged(_ node: Int, by name: String, through index: LogIndex) {
    let log = nodes[node].log
    let known = min(index, LogIndex(UInt64(log.entries.count)))
    nodes[node].store.commits.match(name, known, durable: LogIndex(UInt64(log.durable)))
    learnCommits(node)
  }

  /// What was written to the log of a node is on stable storage.
  mutating func becameDurable(_ node: Int) {
    nodes[node].store.commits.count(durable: LogIndex(UInt64(nodes[node].log.durable)))
    learnCommits(node)
    wakeSessions(node)
  }

  /// More may be known to be committed.
  private mutating func learnCommits(_ node: Int) {
    let index = Int(nodes[node].store.commits.index.rawValue)
    let before = nodes[node].applied
    guard index > before else { return }
    if let term = nodes[node].reign {
      note("n\(node) commits up to \(index) in term \(term)")
      checkCommit(node, term, index)
    } else {
      checkApplied(node, index)
    }
    nodes[node].applied = index
    for database in nodes[node].store.databases.indices {
      if let parked = nodes[node].store.parked[database], parked <= index {
        nodes[node].store.parked[database] = nil
      }
      if nodes[node].reign != nil { apply(node, database) } else { applyLater(node, database) }
    }
    serveIfCurrent(node)
    wakePeers(node)
  }

  // MARK: Databases

  mutating func applyLater(_ node: Int, _ database: Int) {
    later(node, after: pick(chance(5) ? Self.ttl / 4 : 5_000)) { simulation in
      simulation.apply(node, database)
      simulation.serveIfCurrent(node)
      simulation.wakeSessions(node)
    }
  }

  /// Brings a database to what is committed.
  private mutating func apply(_ node: Int, _ number: Int) {
    guard !nodes[node].store.repairs.contains(number) else { return }
    let log = nodes[node].log
    let end = defect == .applyUndecided ? log.entries.count : nodes[node].applied
    var database = nodes[node].store.databases[number]
    guard database.entry < end else { return }
    guard database.entry + 1 >= log.first else {
      return failure = "n\(node) has cut entries that its database \(number) has yet to take"
    }
    for index in database.entry..<end {
      guard let change = log.entries[index].change, change.database == number,
        change.transaction > database.transaction
      else { continue }
      guard change.transaction == database.transaction + 1 else {
        failure = "n\(node) misses a transaction of database \(number) before entry \(index + 1)"
        return
      }
      database.apply(change)
    }
    database.entry = end
    nodes[node].store.databases[number] = database
    checkContent(node, number)
  }

  /// Lets clients in once all that the log held at the beginning of the term is committed and applied.
  private mutating func serveIfCurrent(_ node: Int) {
    let store = nodes[node].store
    guard nodes[node].reign != nil, !store.isServing, let opening = store.opening else { return }
    let isCurrent =
      (store.isWhole || defect == .leadWithoutDatabases)
      && store.databases.allSatisfy { $0.entry >= opening }
      && nodes[node].applied >= opening
    guard isCurrent || defect == .serveBeforeCurrent else { return }
    note("n\(node) lets clients in")
    nodes[node].store.isServing = true
  }

  /// Clients of the primary read, and write into each database whose last writer does not wait any more.
  mutating func serveClients(_ node: Int) {
    guard nodes[node].store.isServing, let term = nodes[node].reign,
      nodes[node].log.fence <= term
    else { return }
    checkReads(node)
    for number in nodes[node].store.databases.indices
    where nodes[node].store.parked[number] == nil && chance(60) {
      let change = SimulatedStore.Change(
        database: number,
        page: pick(SimulatedStore.pages),
        content: nextEntry,
        transaction: nodes[node].store.databases[number].transaction + 1
      )
      nodes[node].store.parked[number] = add(node, term, change)
    }
    wakePeers(node)
  }

  /// Appends an entry to the log of a primary.
  private mutating func add(_ node: Int, _ term: LeaseTerm, _ change: SimulatedStore.Change?) -> Int
  {
    let entry = SimulatedLog.Entry(term: term, id: nextEntry, change: change)
    made.append(entry)
    nextEntry += 1
    nodes[node].log.entries.append(entry)
    let count = nodes[node].log.entries.count
    note("n\(node) appends entry \(entry.id) at \(count)")
    flush(node, leader: nil, term: term)
    return count
  }

  // MARK: Taking over

  /// Begins a term, with an entry of its own; clients have to wait. A node that lacks databases only lets the
  /// others have its log.
  mutating func open(_ node: Int, _ term: LeaseTerm) {
    guard nodes[node].store.isWhole || defect == .leadWithoutDatabases else { return }
    let index = nodes[node].log.entries.count + 1
    nodes[node].store.opening = index
    nodes[node].store.commits.begin(at: LogIndex(UInt64(index)))
    _ = add(node, term, nil)
  }

  /// A primary that lacks databases makes room for another one: for one that has all there is, or after a while
  /// for anyone.
  mutating func giveAway(_ node: Int) {
    guard nodes[node].reign != nil, nodes[node].store.opening == nil, !nodes[node].isBusy
    else { return }
    let last = LogIndex(UInt64(nodes[node].log.entries.count))
    let candidates = nodes[node].election.successors(at: nodes[node].now(time))
    let successor = connections.first { connection in
      let progress = connection.peer.progress
      return connection.primary == node && connection.isOpen(.primary)
        && connection.peer.isStreaming && progress.repairing == 0 && progress.applied > .zero
        && progress.received >= last && candidates.contains(nodes[connection.replica].name)
    }
    guard successor != nil || time - nodes[node].reignSince > 2 * Self.ttl else { return }
    let name = successor.map { nodes[$0.replica].name }
    note("n\(node) gives the lease to \(name ?? "anybody")")
    feed(node) { _ = $0.handOver(to: name, at: $1) }
  }

  /// It is not the primary any more.
  mutating func closeTerm(_ node: Int) {
    nodes[node].store.opening = nil
    nodes[node].store.isServing = false
    nodes[node].store.parked = nodes[node].store.parked.map { _ in nil }
    nodes[node].store.commits.end(StoreError(.readOnly, "deposed"))
    // Its sessions see at the next tick that the term is over.
    later(node, after: 0) { $0.tickSessions(node) }
  }

  // MARK: The primary's side

  mutating func work(_ directive: PrimaryPeer.Directive, _ id: Int) {
    guard let at = place(id) else { return }
    let node = connections[at].primary
    let now = nodes[node].now(time)
    switch directive {
    case .summarize:
      let store = nodes[node].store
      connections[at].peer.summarized(
        log: summary(node),
        databases: store.databases.enumerated().map { number, database in
          DatabaseSummary(
            name: SimulatedStore.name(number),
            position: database.position,
            pageSize: Self.pageBytes,
            pages: UInt32(SimulatedStore.pages)
          )
        },
        base: entryID(
          node,
          defect == .resetToUndecided ? nodes[node].log.entries.count : nodes[node].applied
        ),
        isWhole: store.isWhole || defect == .resetByTheIncomplete
      )
    case .readLog(let first, let maxBytes):
      let result: Result<LogBatch, StoreError> =
        batch(node, from: first, maxBytes: maxBytes).map { .success($0) }
        ?? .failure(StoreError(.notFound, "entry \(first) was removed"))
      connections[at].peer.read(result, at: now)
    case .openSnapshot(let snapshot, let name, let checksums):
      connections[at].peer.opened(snapshot, openSnapshot(node, at, snapshot, name, checksums))
    case .readSnapshot(let snapshot, let maxBytes):
      connections[at].peer.pages(snapshot, readSnapshot(node, at, snapshot, maxBytes))
    case .endSnapshot(let snapshot):
      connections[at].peer.ended(snapshot, endSnapshot(node, at, snapshot))
    case .send, .recent, .dropSnapshot, .acknowledged, .noteReplica, .higherTerm, .close: break
    }
  }

  private mutating func openSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32,
    _ name: String,
    _ checksums: [Checksum]
  ) -> Result<SnapshotBegin, StoreError> {
    guard let number = SimulatedStore.number(name), nodes[node].store.isServing else {
      return .failure(StoreError(.busy, "not yet"))
    }
    let database = nodes[node].store.databases[number]
    let differing = database.pages.indices.filter { page in
      page >= checksums.count
        || checksums[page] != SimulatedStore.checksum(page, database.pages[page])
    }
    connections[at].snapshot = SimulatedSnapshot(id: id, database: number, pages: differing)
    note("n\(node) sends database \(number) at entry \(database.entry)")
    return .success(
      SnapshotBegin(
        database: name,
        index: LogIndex(UInt64(database.entry)),
        pageSize: Self.pageBytes,
        pages: UInt32(SimulatedStore.pages),
        differing: UInt32(differing.count)
      )
    )
  }

  private mutating func readSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32,
    _ maxBytes: Int
  ) -> Result<[SnapshotPage]?, StoreError> {
    guard let snapshot = connections[at].snapshot, snapshot.id == id, nodes[node].store.isServing
    else { return .failure(StoreError(.busy, "not any more")) }
    let taken = snapshot.pages.prefix(max(1, maxBytes / (2 * Int(Self.pageBytes))))
    guard !taken.isEmpty else { return .success(nil) }
    connections[at].snapshot?.pages.removeFirst(taken.count)
    let pages = nodes[node].store.databases[snapshot.database].pages
    return .success(
      taken.map { SnapshotPage(number: PageNumber(UInt32($0 + 1)), bytes: Self.bytes(pages[$0])) }
    )
  }

  private mutating func endSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32
  ) -> Result<SnapshotEnd, StoreError> {
    guard let snapshot = connections[at].snapshot, snapshot.id == id, nodes[node].store.isServing
    else { return .failure(StoreError(.busy, "not any more")) }
    let database = nodes[node].store.databases[snapshot.database]
    return .success(
      SnapshotEnd(
        index: LogIndex(UInt64(database.entry)),
        position: database.position,
        pages: UInt32(SimulatedStore.pages)
      )
    )
  }

  // MARK: The replica's side

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
    case .send, .setReading, .repairFailed, .close: break
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

  /// Entries that another primary does not have are cut; a database that may have parts of them is fetched.
  private mutating func truncate(_ node: Int, _ common: Int) {
    note("n\(node) cuts its log after \(common)")
    if common < nodes[node].applied {
      failure = "n\(node) cuts entry \(common + 1), which is committed"
    }
    for entry in nodes[node].log.entries[common...] {
      guard let number = entry.change?.database else { continue }
      if nodes[node].store.databases[number].undecided > common {
        nodes[node].store.repairs.insert(number)
        nodes[node].store.damaged.remove(number)
        note("n\(node) has to fetch database \(number)")
      }
    }
    nodes[node].log.truncate(to: common)
    nodes[node].store.commits.cut(to: LogIndex(UInt64(common)))
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
    nodes[node].log.entries = Array(committed[..<index])
    nodes[node].log.first = index + 1
    nodes[node].log.durable = index
    nodes[node].log.version += 1
    nodes[node].applied = index
    nodes[node].store.commits.reset(to: base.index)
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
