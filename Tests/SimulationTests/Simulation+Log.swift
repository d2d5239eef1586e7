@testable import Lease

// The replicated log.

extension Simulation {
  /// Whether a node may commit, as far as it knows.
  func mayCommit(_ node: Int) -> Bool {
    if isLeaseIgnored || defect == .leaseNotCheckedAtCommit { return nodes[node].reign != nil }
    return nodes[node].reign != nil && nodes[node].holdsLease(time)
  }

  /// A client reads and writes.
  mutating func serveClient(_ node: Int) {
    guard nodes[node].isUp, nodes[node].pausedUntil <= time else { return }
    if isForwarding {
      borrow(node)
      readLatest(node)
    }
    guard mayCommit(node) else { return }
    if isWhole { return serveClients(node) }
    checkRead(node)
    append(node)
  }

  /// The primary appends an entry and offers it to the others.
  mutating func append(_ node: Int) {
    guard let term = nodes[node].reign, mayCommit(node), nodes[node].log.fence <= term else {
      return
    }
    nodes[node].log.entries.append(SimulatedLog.Entry(term: term, id: nextEntry))
    let (id, count) = (nextEntry, nodes[node].log.entries.count)
    note("n\(node) appends entry \(id) at \(count)")
    nextEntry += 1
    flush(node, leader: nil, term: term)
    replicate(node)
  }

  mutating func flush(_ node: Int, leader: Int?, term: LeaseTerm) {
    let log = nodes[node].log
    let event = Event.logFlushed(
      node,
      life: nodes[node].life,
      version: log.version,
      length: log.entries.count,
      leader: leader,
      term: term
    )
    queue.add(event, at: time + diskTime())
  }

  /// Sends each of the others what it lacks, and again after a while.
  mutating func replicate(_ node: Int) {
    guard let term = nodes[node].reign else { return }
    let log = nodes[node].log
    for other in nodes.indices where other != node {
      let next = nodes[node].next[other]
      let isDue = time - nodes[node].sentAt[other] > Self.ttl / 3
      guard next <= log.entries.count || isDue else { continue }
      let after = isDue ? min(nodes[node].match[other], next - 1) : next - 1
      nodes[node].sentAt[other] = time
      nodes[node].next[other] = log.entries.count + 1
      let packet = Packet.entries(
        term: term,
        after: after,
        afterTerm: log.term(after),
        Array(log.entries[after...]),
        commit: nodes[node].applied
      )
      send(packet, from: node, to: other)
    }
  }

  mutating func takeEntries(
    _ term: LeaseTerm,
    _ after: Int,
    _ afterTerm: LeaseTerm,
    _ entries: [SimulatedLog.Entry],
    _ commit: Int,
    from leader: Int,
    at node: Int
  ) {
    if defect != .noFence {
      guard term >= nodes[node].log.fence, nodes[node].reign.map({ $0 < term }) ?? true else {
        return
      }
      nodes[node].log.fence = term
    } else if term < nodes[node].log.last.term {
      // Even so a log's terms do not go down.
      return
    }
    guard after <= nodes[node].log.entries.count, nodes[node].log.term(after) == afterTerm else {
      let match = min(after - 1, nodes[node].log.entries.count)
      let packet = Packet.acknowledgement(term: term, match: match, isRefused: true)
      return send(packet, from: node, to: leader)
    }
    let end = after + entries.count
    for (place, entry) in entries.enumerated() {
      let index = after + place
      if index < nodes[node].log.entries.count {
        if nodes[node].log.entries[index] == entry { continue }
        if index < nodes[node].applied { failure = "n\(node) drops entry \(index + 1), applied" }
        nodes[node].log.truncate(to: index)
      }
      nodes[node].log.entries.append(entry)
    }
    note("n\(node) has entries \(after + 1)...\(end) of n\(leader) in term \(term)")
    apply(node, defect == .applyBeforeCommit ? end : min(commit, end))
    if nodes[node].log.durable >= end {
      acknowledge(term, end, from: node, to: leader)
    } else if nodes[node].log.entries.count == end {
      flush(node, leader: leader, term: term)
    }
  }

  mutating func acknowledge(_ term: LeaseTerm, _ match: Int, from node: Int, to leader: Int) {
    let packet = Packet.acknowledgement(term: term, match: match, isRefused: false)
    guard defect == .ignoreTermInAcknowledgements else {
      return send(packet, from: node, to: leader)
    }
    // Without a term nobody can tell to whom it was meant.
    for other in nodes.indices where other != node { send(packet, from: node, to: other) }
  }

  mutating func takeAcknowledgement(
    _ term: LeaseTerm,
    _ match: Int,
    _ isRefused: Bool,
    from sender: Int,
    at node: Int
  ) {
    guard let reign = nodes[node].reign else { return }
    guard term == reign || defect == .ignoreTermInAcknowledgements else { return }
    if isRefused {
      nodes[node].next[sender] = max(1, min(nodes[node].next[sender], match + 1))
      return replicate(node)
    }
    nodes[node].match[sender] = max(nodes[node].match[sender], match)
    commit(node)
  }

  /// Commits what a majority has on stable storage (3.6.2: entries of the own term only, and with
  /// them what is before).
  mutating func commit(_ node: Int) {
    guard let term = nodes[node].reign else { return }
    nodes[node].match[node] = nodes[node].log.durable
    let counted = nodes[node].match.sorted(by: >)
    let wanted = defect == .commitOnMinority ? max(1, majority - 1) : majority
    let index = min(counted[wanted - 1], nodes[node].log.entries.count)
    guard index > nodes[node].applied, nodes[node].log.term(index) == term, mayCommit(node) else {
      return
    }
    note("n\(node) commits up to \(index) in term \(term)")
    checkCommit(node, term, index)
    apply(node, index)
  }

  private mutating func apply(_ node: Int, _ end: Int) {
    guard end > nodes[node].applied else { return }
    checkApplied(node, end)
    nodes[node].applied = end
  }
}
