extension Election {
  /// Asks the others whether they would vote for this node, and again after a while.
  mutating func askForPreVotes(at now: Instant, _ log: LogPosition) {
    round += 1
    role = .follower
    preVotes = [configuration.name]
    campaignAt = now + fraction(from: 0.1, to: 0.3)
    if preVotes.count >= majority { return campaign(at: now) }
    let request = ElectionMessage.Body.preVoteRequest(
      round: round,
      log: log,
      priority: configuration.priority
    )
    for voter in others { directives.append(.send(.init(record.term, request), to: voter)) }
  }

  /// Begins the next term as a candidate.
  mutating func campaign(at now: Instant, isHandOver: Bool = false) {
    guard isVoter, configuration.isCandidate else { return }
    stepDown(at: now)
    record = ElectionRecord(term: LeaseTerm(record.term.rawValue + 1), vote: nil)
    leader = nil
    waiting = []
    role = .candidate
    votes = []
    round += 1
    self.isHandOver = isHandOver
    campaignAt = now + fraction(from: 0.2, to: 0.5)
    fence()
  }

  /// The log is fenced: votes for itself and asks for votes.
  mutating func stand(_ log: LogPosition, at now: Instant) {
    record.vote = configuration.name
    directives.append(.persist(record))
    votes = [configuration.name]
    for (candidate, _) in waiting { refuse(candidate) }
    waiting = []
    if votes.count >= majority { return lead(at: now) }
    let request = ElectionMessage.Body.voteRequest(log: log, isHandOver: isHandOver)
    for voter in others { directives.append(.send(.init(record.term, request), to: voter)) }
  }

  mutating func receivePreVote(
    from voter: String,
    _ message: ElectionMessage,
    round theirs: UInt64,
    _ log: LogPosition,
    priority: Int64,
    at now: Instant,
    own: LogPosition
  ) {
    var isGranted = message.term >= record.term && log >= own && isFree(at: now)
    if isGranted, isPreferred(over: priority, log, own, at: now) {
      isGranted = false
      preferredSelf = now
      campaignAt = now
    }
    let reply = ElectionMessage.Body.preVoteReply(round: theirs, isGranted: isGranted)
    directives.append(.send(.init(record.term, reply), to: voter))
  }

  /// Whether this voter would rather be the leader itself. Not twice in a row: it may be that nobody hears it.
  private func isPreferred(
    over priority: Int64,
    _ log: LogPosition,
    _ own: LogPosition,
    at now: Instant
  ) -> Bool {
    guard configuration.isCandidate, configuration.priority > priority, own >= log else {
      return false
    }
    return preferredSelf.map { now - $0 > configuration.ttl } ?? true
  }

  /// Whether no leader can count on this voter.
  func isFree(at now: Instant) -> Bool { role != .leader && now >= promisedUntil }

  mutating func receivePreVoteReply(
    from voter: String,
    round theirs: UInt64,
    isGranted: Bool,
    at now: Instant
  ) {
    guard role == .follower, theirs == round, isGranted, isFree(at: now) else { return }
    preVotes.insert(voter)
    if preVotes.count >= majority { campaign(at: now) }
  }

  mutating func receiveVoteRequest(
    from candidate: String,
    _ message: ElectionMessage,
    _ log: LogPosition,
    isHandOver: Bool,
    at now: Instant
  ) {
    guard message.term >= record.term, isVoter, isHandOver || isFree(at: now) else {
      return refuse(candidate)
    }
    adopt(message.term, at: now)
    guard role != .leader else { return refuse(candidate) }
    waiting.append((candidate, log))
    fence()
  }

  /// Decides about a vote in the present term, in which the log takes nothing of an earlier one.
  mutating func decide(
    _ candidate: String,
    _ log: LogPosition,
    own: LogPosition,
    at now: Instant
  ) {
    guard role == .follower, log >= own, record.vote == nil || record.vote == candidate else {
      return refuse(candidate)
    }
    record.vote = candidate
    campaignAt = max(campaignAt, now + fraction(from: 0.5, to: 0.8))
    directives.append(.persist(record))
    directives.append(.send(.init(record.term, .voteReply(isGranted: true)), to: candidate))
  }

  private mutating func refuse(_ candidate: String) {
    directives.append(.send(.init(record.term, .voteReply(isGranted: false)), to: candidate))
  }

  mutating func promise(at now: Instant) {
    promisedUntil = now + configuration.ttl
    campaignAt = promisedUntil + fraction(from: 0.02, to: 0.2)
  }

  mutating func receiveVote(from voter: String, at now: Instant) {
    guard role == .candidate, record.vote == configuration.name else { return }
    votes.insert(voter)
    if votes.count >= majority { lead(at: now) }
  }

  /// A majority has voted for this node.
  private mutating func lead(at now: Instant) {
    role = .leader
    leader = configuration.name
    isHandOver = false
    // The lease begins with the first heartbeats that a majority acknowledges.
    acknowledged = [:]
    ledSince = now
    heartbeatAt = now
    directives.append(.elected(record.term))
    tick(at: now, log: .zero)
  }
}
