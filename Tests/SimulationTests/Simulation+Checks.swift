@testable import Lease

// What must hold (DESIGN.md, section 12).

extension Simulation {
  /// After each event: nobody else believes in a valid lease.
  mutating func check() {
    var holder: Int?
    for node in nodes.indices where nodes[node].holdsLease(time) {
      if let holder, !isLeaseIgnored, failure == nil {
        failure = "n\(holder) and n\(node) hold a lease at the same time"
      }
      holder = node
    }
  }

  /// One leader in a term, and it has all that is committed.
  mutating func checkElected(_ node: Int, _ term: LeaseTerm) {
    if let other = leaders[term], other != node {
      failure = "n\(other) and n\(node) are leaders in term \(term)"
    }
    leaders[term] = node
    let entries = nodes[node].log.entries
    for (index, entry) in committed.enumerated() {
      guard index >= entries.count || entries[index] != entry else { continue }
      failure = "n\(node), elected in term \(term), lacks the committed entry \(index + 1)"
      return
    }
  }

  /// One node commits in a term, it does so with the lease, and what is committed stays.
  mutating func checkCommit(_ node: Int, _ term: LeaseTerm, _ end: Int) {
    if let other = committers[term], other != node {
      failure = "n\(other) and n\(node) commit in term \(term)"
    }
    committers[term] = node
    // With a majority it is safe whenever that is heard of; the world with little in it is stricter.
    if !isLeaseIgnored, !isWhole,
      let other = nodes.indices.first(where: { $0 != node && nodes[$0].holdsLease(time) })
    {
      failure = "n\(node) commits while n\(other) holds the lease"
    }
    let entries = nodes[node].log.entries
    for index in nodes[node].applied..<end {
      if index == committed.count {
        committed.append(entries[index])
        if let change = entries[index].change { commitContent(change) }
      } else if committed[index] != entries[index] {
        failure = "n\(node) commits another entry \(index + 1) than was committed"
        return
      }
    }
  }

  /// What is applied is committed.
  mutating func checkApplied(_ node: Int, _ end: Int) {
    let entries = nodes[node].log.entries
    for index in nodes[node].applied..<end
    where index >= committed.count || committed[index] != entries[index] {
      failure = "n\(node) applies entry \(index + 1), which is not committed"
      return
    }
  }

  /// Who holds the lease, and has committed in its term, has the latest that was committed (6.4).
  mutating func checkRead(_ node: Int) {
    guard !isLeaseIgnored, let term = nodes[node].reign,
      nodes[node].log.term(nodes[node].applied) == term
    else { return }
    if nodes[node].applied != committed.count {
      failure =
        "n\(node) reads with \(nodes[node].applied) of \(committed.count) committed entries"
    }
  }

  // MARK: Databases

  /// What a database is to hold after each of its transactions.
  private mutating func commitContent(_ change: SimulatedStore.Change) {
    var pages = contents[change.database].last ?? []
    pages[change.page] = change.content
    if change.transaction != contents[change.database].count {
      failure =
        "transaction \(change.transaction) of database \(change.database) is committed out of turn"
    }
    contents[change.database].append(pages)
    guard change.content >= Self.forwarded else { return }
    if !forwarded.insert(change.content).inserted {
      failure = "transaction \(change.content) is committed twice"
    }
    if denied.contains(change.content) {
      failure =
        "transaction \(change.content) is committed after its client was told that it is not"
    }
  }

  /// A client of a replica has heard what has become of its transaction.
  mutating func checkTold(_ node: Int, _ change: SimulatedStore.Change, _ isCommitted: Bool) {
    let isSo = forwarded.contains(change.content)
    if isCommitted != isSo {
      failure =
        "a client of n\(node) is told that transaction \(change.content) is"
        + " \(isCommitted ? "" : "not ")committed"
    }
    if !isCommitted { denied.insert(change.content) }
  }

  /// What a reader sees is committed, whole, and not older than what another has seen.
  mutating func checkContent(_ node: Int, _ number: Int) {
    guard nodes[node].store.isReadable(number) else { return }
    let database = nodes[node].store.databases[number]
    let all = contents[number]
    // What rots is found later.
    let pages = zip(database.pages, database.sums).map { $0 == Self.rot ? $1 : $0 }
    if database.transaction >= all.count || pages != all[database.transaction]
      || database.sums != pages
    {
      failure =
        "n\(node) shows another transaction \(database.transaction) of database \(number) than was committed"
    }
    if database.transaction < nodes[node].seen[number] {
      failure = "n\(node) goes back to transaction \(database.transaction) of database \(number)"
    }
    nodes[node].seen[number] = database.transaction
  }

  /// Clients of the primary read the latest.
  mutating func checkReads(_ node: Int) {
    for number in contents.indices {
      let transaction = nodes[node].store.databases[number].transaction
      if transaction != contents[number].count - 1 {
        failure = "n\(node), the primary, reads transaction \(transaction) of database \(number)"
      }
    }
  }

  /// Whether every node that is left has what was committed by then.
  func hasConverged(_ committed: Int) -> Bool {
    nodes.indices.allSatisfy { index in
      let node = nodes[index]
      return index == lost
        || node.store.isWhole && node.store.databases.allSatisfy { $0.entry >= committed }
    }
  }

  mutating func checkRestarted(_ node: Int) {
    if nodes[node].election.record.term < nodes[node].told {
      failure =
        "n\(node) told of term \(nodes[node].told) and restarts in"
        + " \(nodes[node].election.record.term)"
    }
  }
}
