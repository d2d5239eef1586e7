/// The election of a primary among voters, as one of them: a value without I/O.
///
/// Raft's election (Ongaro's dissertation, chapters 3, 6 and 9), with
///
/// * pre-vote (9.6): nobody raises the term before a majority says that it would vote for him, so that a node that
///   was cut off does not depose a healthy leader when it comes back;
/// * check-quorum and leader lease (6.2, 6.4.1): a leader whom a majority has not acknowledged for `ttl` steps
///   down, and a voter that has heard the leader within `ttl` votes for nobody else. So until
///   the deadline, `ttl` less a margin after the sending of the last heartbeats that a majority has acknowledged,
///   no other can be the leader, and the primary may act without asking;
/// * hand-over (3.10): the leader gives its lease up and lets a successor campaign at once;
/// * priorities: of voters with equal logs that with the highest priority.
///
/// Inputs change the state and leave directives in `directives`, to be performed in their order. Whatever follows
/// a `persist` must not be performed before that is on stable storage, nor if that fails.
///
/// A vote is given for a log at least as advanced as the voter's (3.6.1). So that this log does not
/// grow by entries of an earlier leader after the comparison, `fence` comes before it.
package struct Election: Sendable {
  package struct Configuration: Hashable, Sendable {
    package var name: String
    /// All voters; this node is one of them if it votes.
    package var voters: Set<String>
    package var ttl: Duration
    package var priority: Int64
    package var isCandidate: Bool

    package init(
      name: String,
      voters: Set<String>,
      ttl: Duration,
      priority: Int64 = 0,
      isCandidate: Bool = true
    ) {
      self.name = name
      self.voters = voters
      self.ttl = ttl
      self.priority = priority
      self.isCandidate = isCandidate
    }
  }

  package enum Role: Hashable, Sendable { case follower, candidate, leader }

  package enum Directive: Hashable, Sendable {
    case send(ElectionMessage, to: String)
    /// Put it on stable storage before anything that follows.
    case persist(ElectionRecord)
    /// Let the log take nothing of a lower term, then answer with `fenced`.
    case fence(LeaseTerm)
    case elected(LeaseTerm)
    /// This node's lease of that term is over.
    case deposed(LeaseTerm)
    /// That voter wants the lease.
    case handOverRequested(String)
  }

  /// What a voter said last.
  struct Heard: Sendable {
    var at: Instant
    var log: LogPosition
    var isCandidate: Bool
  }

  package typealias Instant = LeaseClock.Instant

  /// The part of `ttl` by which a leader stops early, since clocks may run at different speeds: a tenth is more
  /// than any crystal is wrong by.
  static let marginPart = 10
  /// Heartbeats in the time of a lease.
  static let heartbeatsPerTTL = 8

  package let configuration: Configuration
  package internal(set) var record: ElectionRecord
  package internal(set) var role = Role.follower
  /// The leader of the present term, as far as it is known.
  package internal(set) var leader: String?
  package internal(set) var directives: [Directive] = []

  /// Until then this voter votes for nobody, except after a hand-over.
  var promisedUntil: Instant
  /// When to campaign.
  var campaignAt: Instant
  var random: UInt64
  /// Numbers this node's rounds of pre-votes.
  var round: UInt64 = 0
  var preVotes: Set<String> = []
  var votes: Set<String> = []
  /// Since when this node is the leader.
  var ledSince: Instant
  /// Campaigning with the lease that the last leader gave up.
  var isHandOver = false
  /// Who asked for a vote in the present term, before the log was fenced.
  var waiting: [(candidate: String, log: LogPosition)] = []
  /// The term for which the log was asked to be fenced, until the answer.
  var fencing: LeaseTerm?
  /// When a candidate was last refused for its priority.
  var preferredSelf: Instant?

  var sequence: UInt64 = 0
  /// When the heartbeats that may still be acknowledged were sent.
  var sentAt: [UInt64: Instant] = [:]
  var heartbeatAt: Instant
  /// For each voter when the last heartbeat was sent that it has acknowledged.
  var acknowledged: [String: Instant] = [:]
  /// For each voter when it was heard last, and where its log ended then.
  var heard: [String: Heard] = [:]

  /// - Parameters:
  ///   - record: what is on stable storage.
  ///   - seed: decides the order in which voters campaign.
  package init(
    _ configuration: Configuration,
    record: ElectionRecord,
    seed: UInt64,
    now: Instant
  ) {
    self.configuration = configuration
    self.record = record
    random = seed
    // Before it was started anew this voter may have heard a leader.
    promisedUntil = record.term > .zero ? now + configuration.ttl : now
    campaignAt = now
    ledSince = now
    heartbeatAt = now
    campaignAt = max(promisedUntil, now) + fraction(from: 0.02, to: 0.2)
    if isAlone { campaignAt = now }
  }

  /// Whether this node leads for good, being the only voter.
  package var isAlone: Bool { configuration.voters == [configuration.name] }

  /// Until when this node may act as the leader; nil when it may not, as before a majority has acknowledged the
  /// first heartbeat, or is the only voter.
  package var deadline: Instant? {
    guard role == .leader, !isAlone else { return nil }
    return acknowledgedByMajority.map { $0 + lease }
  }

  /// How long a leader may count on what a majority has acknowledged.
  private var lease: Duration { configuration.ttl - configuration.ttl / Self.marginPart }

  /// When the last heartbeat was sent that a majority, this node being one of it, has acknowledged.
  private var acknowledgedByMajority: Instant? {
    let times = acknowledged.values.sorted(by: >)
    return times.count >= majority - 1 ? times[majority - 2] : nil
  }

  var isVoter: Bool { configuration.voters.contains(configuration.name) }
  var majority: Int { configuration.voters.count / 2 + 1 }
  var others: [String] { configuration.voters.filter { $0 != configuration.name }.sorted() }

  // MARK: Inputs

  /// Time has passed.
  ///
  /// - Parameter log: where this node's log ends.
  package mutating func tick(at now: Instant, log: LogPosition) {
    guard role != .leader else { return tickLeader(at: now) }
    guard isVoter, configuration.isCandidate, now >= campaignAt else { return }
    askForPreVotes(at: now, log)
  }

  private mutating func tickLeader(at now: Instant) {
    if !isAlone, now >= (acknowledgedByMajority ?? ledSince) + lease { return stepDown(at: now) }
    guard now >= heartbeatAt else { return }
    sequence += 1
    sentAt[sequence] = now
    sentAt = sentAt.filter { $0.value > now - configuration.ttl }
    heartbeatAt = now + configuration.ttl / Self.heartbeatsPerTTL
    for voter in others {
      directives.append(.send(.init(record.term, .heartbeat(sequence: sequence)), to: voter))
    }
  }

  /// The log takes nothing of a lower term any more.
  package mutating func fenced(_ term: LeaseTerm, log: LogPosition, at now: Instant) {
    guard fencing == term else { return }
    fencing = nil
    guard record.term == term else { return }
    if role == .candidate, record.vote == nil { return stand(log, at: now) }
    let candidates = waiting
    waiting = []
    for (candidate, theirs) in candidates { decide(candidate, theirs, own: log, at: now) }
  }

  /// Takes what has been asked for since the last call.
  package mutating func takeDirectives() -> [Directive] {
    defer { directives = [] }
    return directives
  }

  // MARK: Shared by the aspects

  /// A later term has begun.
  mutating func adopt(_ term: LeaseTerm, at now: Instant) {
    guard term > record.term else { return }
    stepDown(at: now)
    record = ElectionRecord(term: term, vote: nil)
    leader = nil
    waiting = []
    directives.append(.persist(record))
  }

  /// This node does not lead, nor want to for the time being.
  mutating func stepDown(at now: Instant) {
    if role == .leader {
      directives.append(.deposed(record.term))
      leader = nil
      campaignAt = now + configuration.ttl + fraction(from: 0.02, to: 0.2)
    }
    role = .follower
    acknowledged = [:]
    sentAt = [:]
    isHandOver = false
  }

  /// The record could not be stored. Nothing has been told of it, hence this node is where it was before; a term
  /// that it kept in mind alone would be told with the next answer, and be forgotten by a restart.
  ///
  /// - Parameter stored: what is on stable storage.
  package mutating func revert(to stored: ElectionRecord, at now: Instant) {
    stepDown(at: now)
    leader = nil
    record = stored
    waiting = []
    preVotes = []
    votes = []
    fencing = nil
  }

  /// Asks for the fence of the present term, unless that is under way.
  mutating func fence() {
    guard fencing != record.term else { return }
    fencing = record.term
    directives.append(.fence(record.term))
  }

  /// A random part of `ttl`.
  mutating func fraction(from low: Double, to high: Double) -> Duration {
    // SplitMix64.
    random &+= 0x9E37_79B9_7F4A_7C15
    var z = random
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    z ^= z >> 31
    let part = Double(z >> 11) / Double(1 << 53)
    return configuration.ttl * (low + (high - low) * part)
  }
}
