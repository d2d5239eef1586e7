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
    if !isLeaseIgnored,
      let other = nodes.indices.first(where: { $0 != node && nodes[$0].holdsLease(time) })
    {
      failure = "n\(node) commits while n\(other) holds the lease"
    }
    let entries = nodes[node].log.entries
    for index in nodes[node].applied..<end {
      if index == committed.count {
        committed.append(entries[index])
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

  mutating func checkRestarted(_ node: Int) {
    if nodes[node].election.record.term < nodes[node].told {
      failure =
        "n\(node) told of term \(nodes[node].told) and restarts in"
        + " \(nodes[node].election.record.term)"
    }
  }
}
