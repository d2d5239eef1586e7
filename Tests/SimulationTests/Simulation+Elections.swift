@testable import Lease

// The election of each node: its inputs, and what is done of its directives.

extension Simulation {
  mutating func feed(_ node: Int, _ input: (inout Election, LeaseClock.Instant) -> Void) {
    let before = nodes[node].election.record.term
    input(&nodes[node].election, nodes[node].now(time))
    if nodes[node].election.record.term < min(before, nodes[node].told) {
      failure = "the term of n\(node) shrank"
    }
    nodes[node].remaining += nodes[node].election.takeDirectives()
    notice(node)
    perform(node)
  }

  /// What the owner of a lease sees: that it has come or gone.
  private mutating func notice(_ node: Int) {
    let (isHeld, term) = (nodes[node].isHeld, nodes[node].election.record.term)
    if let reign = nodes[node].reign, !isHeld || reign != term {
      // Who ignores leases leads until it hears of a higher term, as in plain Raft.
      if !isLeaseIgnored || term > reign { deposed(node, reign) }
    }
    if isHeld, nodes[node].reign == nil { elected(node, term) }
  }

  private mutating func deposed(_ node: Int, _ term: LeaseTerm) {
    note("n\(node) is deposed in term \(term)")
    nodes[node].reign = nil
    if isWhole { closeTerm(node) }
    // A campaign that was under way when it was elected may still unseat it.
    if isCalm, !isMending, time - nodes[node].reignSince > Self.ttl {
      failure = "n\(node), a healthy leader, was unseated in term \(term)"
    }
  }

  /// Does what the election wants, in order, until it has to wait for something.
  private mutating func perform(_ node: Int) {
    while !nodes[node].isBusy, !nodes[node].remaining.isEmpty {
      perform(nodes[node].remaining.removeFirst(), node)
    }
  }

  private mutating func perform(_ directive: Election.Directive, _ node: Int) {
    switch directive {
    case .send(let message, let name):
      guard let receiver = nodes.firstIndex(where: { $0.name == name }) else { return }
      send(message, from: node, to: receiver)
    case .persist(let record):
      if diskFails() {
        // What follows is not done, and the election gives up what it was at (QuorumLease).
        note("n\(node) cannot store term \(record.term)")
        nodes[node].remaining = []
        let stored = nodes[node].stored
        return feed(node) { $0.revert(to: stored, at: $1) }
      }
      note("n\(node) stores term \(record.term), vote \(record.vote ?? "none")")
      if defect != .voteWithoutPersist { nodes[node].writing = record }
      queue.add(.recordStored(node, life: nodes[node].life, record), at: time + diskTime())
    case .fence(let term):
      nodes[node].fencing = term
      queue.add(.logFenced(node, life: nodes[node].life, term), at: time + pick(2000))
    case .elected, .deposed: break
    case .handOverRequested(let name):
      feed(node) { _ = $0.handOver(to: name, at: $1) }
    }
  }

  /// The election goes on, and takes what has come meanwhile.
  private mutating func resume(_ node: Int) {
    perform(node)
    while !nodes[node].isBusy, !nodes[node].inbox.isEmpty {
      handle(nodes[node].inbox.removeFirst())
    }
  }

  private mutating func send(_ message: ElectionMessage, from node: Int, to receiver: Int) {
    if max(nodes[node].disk.term, nodes[node].loaded) < message.term,
      nodes[node].election.record.term >= message.term,
      defect != .voteWithoutPersist
    {
      failure = "n\(node) told of a term that is not stored"
    }
    nodes[node].told = max(nodes[node].told, message.term)
    if case .voteReply(isGranted: true) = message.body {
      let ballot = Ballot(voter: node, term: message.term)
      if let other = votes[ballot], other != receiver {
        failure = "n\(node) voted in term \(message.term) for n\(other) and for n\(receiver)"
      }
      votes[ballot] = receiver
      crashAfterVote(node)
    }
    if defect == .noPreVote, case .preVoteRequest(let round, _, _) = message.body {
      let reply = ElectionMessage.Body.preVoteReply(round: round, isGranted: true)
      let packet = Packet.election(ElectionMessage(message.term, reply))
      return queue.add(.deliver(packet, from: receiver, to: node), at: time)
    }
    send(.election(message), from: node, to: receiver)
  }

  mutating func recordStored(_ node: Int, _ life: Int, _ record: ElectionRecord) {
    guard isAlive(node, life) else { return }
    nodes[node].disk = record
    nodes[node].stored = record
    guard nodes[node].writing != nil else { return }
    nodes[node].writing = nil
    resume(node)
  }

  mutating func logFenced(_ node: Int, _ life: Int, _ term: LeaseTerm) {
    guard isAlive(node, life), nodes[node].fencing == term else { return }
    nodes[node].fencing = nil
    if defect != .noFence { nodes[node].log.fence = max(nodes[node].log.fence, term) }
    let log = nodes[node].log.last
    feed(node) { $0.fenced(term, log: log, at: $1) }
    resume(node)
  }

  mutating func take(_ packet: Packet, from sender: Int, at node: Int) {
    switch packet {
    case .election(let message):
      let message = tampered(message, from: sender, at: node)
      if !message.isOfHeartbeats {
        note("n\(sender) -> n\(node)  term \(message.term) \(message.body)")
      }
      let (name, log) = (nodes[sender].name, nodes[node].log.last)
      feed(node) { $0.receive(message, from: name, at: $1, log: log) }
    case .entries(let term, let after, let afterTerm, let entries, let commit):
      takeEntries(term, after, afterTerm, entries, commit, from: sender, at: node)
    case .acknowledgement(let term, let match, let isRefused):
      takeAcknowledgement(term, match, isRefused, from: sender, at: node)
    }
  }

  /// The message as a node with the defect would understand it.
  private func tampered(
    _ message: ElectionMessage,
    from sender: Int,
    at node: Int
  ) -> ElectionMessage {
    var message = message
    let all = LogPosition(term: LeaseTerm(1 << 62), index: 1 << 62)
    switch (defect, message.body) {
    case (.noLogComparison, .preVoteRequest(let round, _, let priority)):
      message.body = .preVoteRequest(round: round, log: all, priority: priority)
    case (.noLogComparison, .voteRequest(_, let isHandOver)):
      message.body = .voteRequest(log: all, isHandOver: isHandOver)
    case (.ignoreStickiness, .preVoteReply(let round, _)):
      message.body = .preVoteReply(round: round, isGranted: true)
    case (.ignoreStickiness, .voteRequest(let log, _)):
      message.body = .voteRequest(log: log, isHandOver: true)
    case (.acknowledgeLatestRound, .heartbeatReply(_, let log, let isCandidate)):
      let sequence = nodes[node].election.sequence
      message.body = .heartbeatReply(sequence: sequence, log: log, isCandidate: isCandidate)
    default: break
    }
    return message
  }

  private mutating func elected(_ node: Int, _ term: LeaseTerm) {
    note("n\(node) is elected in term \(term)")
    checkElected(node, term)
    nodes[node].reign = term
    nodes[node].reignSince = time
    nodes[node].match = Array(repeating: 0, count: nodes.count)
    nodes[node].next = Array(repeating: nodes[node].log.entries.count + 1, count: nodes.count)
    nodes[node].sentAt = Array(repeating: -Self.ttl, count: nodes.count)
    if isWhole { open(node, term) } else { append(node) }
    cutAfterElection(node)
  }
}

extension ElectionMessage {
  /// There are so many of them that they would push what matters out of a history.
  fileprivate var isOfHeartbeats: Bool {
    switch body {
    case .heartbeat, .heartbeatReply: true
    default: false
    }
  }
}
