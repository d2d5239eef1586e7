/// What a node knows about itself and its peers at one moment: the answer of `/status` and of
/// `halite status --json`.
///
/// The names in the JSON are a contract; keys may be added, never renamed or removed.
package struct NodeStatus: Codable, Sendable, Equatable {
  package enum Role: String, Codable, Sendable {
    case primary, replica, candidate
  }

  package struct Member: Codable, Sendable, Equatable {
    package var name: String
    package var role: Role
    package var term: UInt64
    package var ready: Bool
    /// Why the node is not ready; absent when it is.
    package var reason: String?
    package var commitIndex: UInt64
    package var appliedIndex: UInt64
    /// How far behind the primary this node is; 0 on the primary, absent while unknown.
    package var lagMilliseconds: Int64?
    package var version: String
    package var uptimeSeconds: Int64

    enum CodingKeys: String, CodingKey {
      case name, role, term, ready, reason, version
      case commitIndex = "commit_index"
      case appliedIndex = "applied_index"
      case lagMilliseconds = "lag_ms"
      case uptimeSeconds = "uptime_s"
    }

    package init(
      name: String,
      role: Role,
      term: UInt64,
      ready: Bool,
      reason: String? = nil,
      commitIndex: UInt64,
      appliedIndex: UInt64,
      lagMilliseconds: Int64? = nil,
      version: String = HaliteVersion.text,
      uptimeSeconds: Int64 = 0
    ) {
      self.name = name
      self.role = role
      self.term = term
      self.ready = ready
      self.reason = reason
      self.commitIndex = commitIndex
      self.appliedIndex = appliedIndex
      self.lagMilliseconds = lagMilliseconds
      self.version = version
      self.uptimeSeconds = uptimeSeconds
    }
  }

  package struct Primary: Codable, Sendable, Equatable {
    package var name: String

    package init(name: String) { self.name = name }
  }

  package struct Database: Codable, Sendable, Equatable {
    package var name: String
    /// 16 lower-case hexadecimal digits.
    package var txid: String
    /// 16 lower-case hexadecimal digits.
    package var checksum: String
    package var pageSize: UInt32
    package var pages: UInt32
    package var journalMode: String
    /// The node whose clients write it at the moment, where that is not the primary, or this node is that one.
    var writer: String?
    /// Who else wants to write it, in the order of their turns; absent where nobody waits.
    var writersWaiting: [String]?
    /// What keeps the database from following the log, if anything does.
    package var problem: String?
    /// The first pages that are not what was committed, by number; absent when all are.
    package var damagedPages: [UInt32]?

    enum CodingKeys: String, CodingKey {
      case name, txid, checksum, pages, problem, writer
      case writersWaiting = "writers_waiting"
      case damagedPages = "damaged_pages"
      case pageSize = "page_size"
      case journalMode = "journal_mode"
    }

    package init(
      name: String,
      txid: String,
      checksum: String,
      pageSize: UInt32,
      pages: UInt32,
      journalMode: String,
      problem: String? = nil,
      damagedPages: [UInt32]? = nil
    ) {
      self.name = name
      self.txid = txid
      self.checksum = checksum
      self.pageSize = pageSize
      self.pages = pages
      self.journalMode = journalMode
      self.problem = problem
      self.damagedPages = damagedPages
    }
  }

  package struct Peer: Codable, Sendable, Equatable {
    package var name: String
    package var role: Role
    package var connected: Bool
    /// Nil when unknown.
    package var lagMilliseconds: Int64?
    package var matchIndex: UInt64

    enum CodingKeys: String, CodingKey {
      case name, role, connected
      case lagMilliseconds = "lag_ms"
      case matchIndex = "match_index"
    }

    package init(
      name: String,
      role: Role,
      connected: Bool,
      lagMilliseconds: Int64?,
      matchIndex: UInt64
    ) {
      self.name = name
      self.role = role
      self.connected = connected
      self.lagMilliseconds = lagMilliseconds
      self.matchIndex = matchIndex
    }
  }

  package var cluster: String
  package var node: Member
  package var primary: Primary?
  package var databases: [Database]
  package var peers: [Peer]
  /// What keeps the node from taking writes or following, other than a database's own problem.
  package var problems: [String]
  /// Requests that wait, and for what; empty when nothing does.
  package var waiting: [String]
  /// Log tails set aside because they were not the cluster's, by path.
  package var quarantine: [String]
  /// How far the scrub is; absent where it is turned off.
  package var scrub: Scrub?
  /// The election; absent where the primary is fixed.
  package var lease: Lease?

  package init(
    cluster: String,
    node: Member,
    primary: Primary?,
    databases: [Database],
    peers: [Peer],
    problems: [String] = [],
    waiting: [String] = [],
    quarantine: [String] = [],
    scrub: Scrub? = nil,
    lease: Lease? = nil
  ) {
    self.cluster = cluster
    self.node = node
    self.primary = primary
    self.databases = databases
    self.peers = peers
    self.problems = problems
    self.waiting = waiting
    self.quarantine = quarantine
    self.scrub = scrub
    self.lease = lease
  }
}

extension NodeStatus {
  /// `primary` and a peer's `lag_ms` are written even when they are null: readers may count on
  /// the keys.
  package func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(cluster, forKey: .cluster)
    try container.encode(node, forKey: .node)
    try container.encode(primary, forKey: .primary)
    try container.encode(databases, forKey: .databases)
    try container.encode(peers, forKey: .peers)
    try container.encode(problems, forKey: .problems)
    try container.encode(waiting, forKey: .waiting)
    try container.encode(quarantine, forKey: .quarantine)
    try container.encodeIfPresent(scrub, forKey: .scrub)
    try container.encodeIfPresent(lease, forKey: .lease)
  }
}

extension NodeStatus.Peer {
  package func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(role, forKey: .role)
    try container.encode(connected, forKey: .connected)
    try container.encode(lagMilliseconds, forKey: .lagMilliseconds)
    try container.encode(matchIndex, forKey: .matchIndex)
  }
}
