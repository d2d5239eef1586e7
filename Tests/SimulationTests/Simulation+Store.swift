@testable import Lease
import LTX
import Replication
@testable import Store

// The log and the databases of a node, what clients do, and the change of primaries.

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

  func entryID(_ node: Int, _ index: Int) -> EntryID {
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

  static func bytes(_ number: Int) -> [UInt8] {
    (0..<Int(pageBytes)).reversed().map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  static func number(_ bytes: some Sequence<UInt8>) -> Int {
    bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  /// Another voter has everything up to an entry on stable storage.
  mutating func acknowledged(_ node: Int, by name: String, through index: LogIndex) {
    let log = nodes[node].log
    let known = min(index, LogIndex(UInt64(log.entries.count)))
    nodes[node].store.commits.match(name, known) { LogIndex(UInt64(log.durable)) }
    learnCommits(node)
  }

  /// What was written to the log of a node is on stable storage.
  mutating func becameDurable(_ node: Int) {
    nodes[node].store.commits.count(durable: LogIndex(UInt64(nodes[node].log.durable)))
    learnCommits(node)
    wakeSessions(node)
  }

  /// More may be known to be committed.
  mutating func learnCommits(_ node: Int) {
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
    if nodes[node].reign != nil { settleLoans(node) }
    for number in nodes[node].store.borrows.indices { settleAttempt(node, number) }
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
    where nodes[node].store.parked[number] == nil && chance(60) && isOwnTurn(node, number) {
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
  mutating func add(_ node: Int, _ term: LeaseTerm, _ change: SimulatedStore.Change?) -> Int {
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
    nodes[node].store.loans = nodes[node].store.loans.map { _ in SimulatedLoan() }
    supersede(node)
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
    nodes[node].store.loans = nodes[node].store.loans.map { _ in SimulatedLoan() }
    nodes[node].store.commits.end(StoreError(.readOnly, "deposed"))
    // Its sessions see at the next tick that the term is over.
    later(node, after: 0) { $0.tickSessions(node) }
  }
}
