extension Election {
  /// A message of another voter has arrived.
  ///
  /// - Parameter own: where this node's log ends.
  package mutating func receive(
    _ message: ElectionMessage,
    from voter: String,
    at now: Instant,
    log own: LogPosition
  ) {
    guard configuration.voters.contains(voter), voter != configuration.name else { return }
    switch message.body {
    case .preVoteRequest(let theirs, let log, let priority):
      receivePreVote(
        from: voter,
        message,
        round: theirs,
        log,
        priority: priority,
        at: now,
        own: own
      )
    case .preVoteReply(let theirs, let isGranted):
      adopt(message.term, at: now)
      receivePreVoteReply(from: voter, round: theirs, isGranted: isGranted, at: now)
    case .voteRequest(let log, let isHandOver):
      receiveVoteRequest(from: voter, message, log, isHandOver: isHandOver, at: now)
    case .voteReply(let isGranted):
      adopt(message.term, at: now)
      if isGranted, message.term == record.term { receiveVote(from: voter, at: now) }
    case .heartbeat(let sequence):
      receiveHeartbeat(from: voter, message.term, sequence, at: now, log: own)
    case .heartbeatReply(let sequence, let log, let isCandidate):
      adopt(message.term, at: now)
      guard role == .leader, message.term == record.term else { return }
      heard[voter] = Heard(at: now, log: log, isCandidate: isCandidate)
      acknowledge(sequence, by: voter)
    case .timeoutNow:
      guard message.term == record.term, leader == voter else { return }
      campaign(at: now, isHandOver: true)
    case .handOverRequest:
      if role == .leader { directives.append(.handOverRequested(voter)) }
    }
  }

  private mutating func receiveHeartbeat(
    from voter: String,
    _ term: LeaseTerm,
    _ number: UInt64,
    at now: Instant,
    log: LogPosition
  ) {
    guard term >= record.term else {
      // It learns of the later term from the answer.
      return answer(voter, 0, log)
    }
    adopt(term, at: now)
    guard role != .leader else { return }
    role = .follower
    leader = voter
    promise(at: now)
    answer(voter, number, log)
  }

  private mutating func answer(_ voter: String, _ number: UInt64, _ log: LogPosition) {
    let reply = ElectionMessage.Body.heartbeatReply(
      sequence: number,
      log: log,
      isCandidate: configuration.isCandidate
    )
    directives.append(.send(.init(record.term, reply), to: voter))
  }

  private mutating func acknowledge(_ number: UInt64, by voter: String) {
    // Only what was sent in this term is remembered.
    guard let sent = sentAt[number] else { return }
    acknowledged[voter] = max(acknowledged[voter] ?? sent, sent)
  }

  // MARK: Handing over

  /// Gives the lease up at once and lets a successor campaign.
  ///
  /// - Parameter successor: nil for the voter with the most advanced log of those that were heard lately.
  /// - Returns: whom; nil when this node does not lead or there is nobody.
  package mutating func handOver(to successor: String?, at now: Instant) -> String? {
    guard role == .leader else { return nil }
    let candidates = successors(at: now)
    let best = heard.filter { candidates.contains($0.key) }
      .max { ($0.value.log, $1.key) < ($1.value.log, $0.key) }?.key
    guard let chosen = successor ?? best, others.contains(chosen) else { return nil }
    let term = record.term
    stepDown(at: now)
    // For whoever it will be; and if nobody is, for itself after a while.
    campaignAt = now + configuration.ttl + fraction(from: 0.5, to: 1)
    promisedUntil = now
    directives.append(.send(.init(term, .timeoutNow), to: chosen))
    return chosen
  }

  /// The voters that were heard lately and would take the lease.
  package func successors(at now: Instant) -> Set<String> {
    let recent = heard.filter { now - $0.value.at < configuration.ttl && $0.value.isCandidate }
    return Set(recent.keys).intersection(others)
  }

  /// Whether this node leads and a majority has an entry of its term, itself included.
  package var isFollowed: Bool {
    guard role == .leader else { return false }
    let followers = heard.filter { others.contains($0.key) && $0.value.log.term == record.term }
    return followers.count + 1 > configuration.voters.count / 2
  }

  /// Gives the lease up without a successor.
  package mutating func resign(at now: Instant) { stepDown(at: now) }

  /// Asks the leader for the lease.
  ///
  /// - Returns: false when no leader is known.
  package mutating func askForHandOver() -> Bool {
    guard let leader, leader != configuration.name else { return false }
    directives.append(.send(.init(record.term, .handOverRequest), to: leader))
    return true
  }
}
