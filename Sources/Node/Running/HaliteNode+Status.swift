import Foundation
import LTX
import Lease
import Replication
import Store
import Synchronization

extension HaliteNode: NodeControlling {
  package func readiness() -> Readiness {
    if let trouble = store.trouble { return .notReady("the disk: \(trouble.message)") }
    for database in store.allDatabases {
      guard let problem = database.published.problem else { continue }
      return .notReady("database \(database.name): \(problem.message)")
    }
    switch roles.current {
    case .changing: return .notReady("the primary is changing")
    case .opening: return .notReady("this node is about to be the primary")
    case .lending(_, let engine):
      return .notReady("\(engine.databasesToRepair().count) databases are to be fetched")
    case .alone, .primary, .replica: break
    }
    guard case .replica(let client, _) = roles.current else { return .ready }
    guard let status = client?.status else { return .notReady("no primary is known yet") }
    guard status.isConnected else {
      return .notReady(status.failure?.description ?? "not connected to the primary yet")
    }
    guard status.progress.repairing == 0 else {
      return .notReady("\(status.progress.repairing) databases are being fetched from the primary")
    }
    guard let lag = status.lag(at: .now), lag <= configuration.replication.maxLag else {
      return .notReady("further behind the primary than replication.max-lag allows")
    }
    return .ready
  }

  package func status() -> NodeStatus {
    NodeStatus(
      cluster: cluster.given?.rawValue ?? "",
      node: member(),
      primary: primary(),
      databases: databases(),
      peers: peers(),
      problems: problems(),
      waiting: waiting(),
      quarantine: quarantine(),
      scrub: scrub(),
      lease: election()
    )
  }

  /// The databases, with those who write them.
  private func databases() -> [NodeStatus.Database] {
    var all = store.allDatabases.compactMap(Self.describe)
    let lent = Dictionary(uniqueKeysWithValues: store.lent.map { ($0.database, $0) })
    var own: Set<String> = []
    if case .replica(_, let engine) = roles.current { own = Set(engine.borrowedDatabases) }
    for index in all.indices {
      if own.contains(all[index].name) { all[index].writer = configuration.lease.hostname }
      guard let loan = lent[all[index].name] else { continue }
      all[index].writer = loan.holder
      all[index].writersWaiting = loan.waiting.isEmpty ? nil : loan.waiting
    }
    return all
  }

  /// How the election stands; nil where the primary is fixed.
  private var standing: QuorumStanding? { (lease as? QuorumLease)?.standing }

  private func problems() -> [String] {
    var problems = store.trouble.map { ["the disk: \($0)"] } ?? []
    if let problem = standing?.problem { problems.append(problem) }
    return problems
  }

  private func election() -> NodeStatus.Lease? {
    guard let standing, case .quorum(let quorum) = configuration.lease.kind else { return nil }
    return NodeStatus.Lease(
      remainingMilliseconds: standing.remaining.map(Self.milliseconds),
      elections: standing.elections,
      handOvers: handOvers.load(ordering: .relaxed),
      commitsWaiting: store.log.awaitingMajority,
      isVoter: quorum.isVoter(configuration.lease.hostname),
      votersConnected: voters?.connected.count ?? 0,
      voters: quorum.voters.count
    )
  }

  private func scrub() -> NodeStatus.Scrub? {
    guard let progress = scrubber?.progress else { return nil }
    return NodeStatus.Scrub(
      database: progress.database,
      page: progress.done,
      pages: progress.pages,
      scrubbedPages: progress.scrubbedPages,
      scrubbedBytes: progress.scrubbedBytes,
      damagedPages: progress.damagedPages,
      passes: progress.passes,
      lastPass: progress.lastPass
    )
  }

  private func member() -> NodeStatus.Member {
    let last = store.log.last.index.rawValue
    var applied = last
    var lag: Int64? = 0
    var nodeRole = NodeStatus.Role.primary
    if !roles.isPrimary { nodeRole = .replica }
    switch roles.current {
    case .opening(_, let engine), .lending(_, let engine):
      applied = engine.progress().applied.rawValue
    default: break
    }
    if case .replica(let client, let engine) = roles.current {
      nodeRole = standing?.role == .candidate ? .candidate : .replica
      applied = engine.progress().applied.rawValue
      lag = client?.status.lag(at: .now).map(Self.milliseconds)
    }
    let readiness = readiness()
    var reason: String?
    if case .notReady(let text) = readiness { reason = text }
    return NodeStatus.Member(
      name: configuration.lease.hostname,
      role: nodeRole,
      term: max(store.log.last.term, cluster.term).rawValue,
      ready: readiness == .ready,
      reason: reason,
      commitIndex: store.log.needsMajority ? store.log.committed.rawValue : last,
      appliedIndex: applied,
      lagMilliseconds: lag,
      uptimeSeconds: (ContinuousClock.now - started).components.seconds
    )
  }

  static func milliseconds(_ duration: Duration) -> Int64 {
    let parts = duration.components
    return parts.seconds &* 1000 &+ parts.attoseconds / 1_000_000_000_000_000
  }

  private func primary() -> NodeStatus.Primary? {
    switch roles.current {
    case .alone, .primary: return NodeStatus.Primary(name: configuration.lease.hostname)
    case .replica(let client, _):
      guard let status = client?.status, status.isConnected else { return nil }
      return status.primaryName.map { NodeStatus.Primary(name: $0) }
    case .changing, .opening, .lending: return nil
    }
  }

  private static func describe(_ database: Database) -> NodeStatus.Database? {
    let published = database.published
    guard published.position.txid > .zero else { return nil }
    return NodeStatus.Database(
      name: published.name,
      txid: published.position.txid.description,
      checksum: published.position.checksum.description,
      pageSize: UInt32(published.pageSize?.bytes ?? 0),
      pages: published.pages,
      journalMode: published.isWAL ? "wal" : "rollback",
      problem: published.problem?.description ?? damage(published.damaged),
      damagedPages: published.damaged.isEmpty
        ? nil : published.damaged.prefix(NodeStatus.maximumPages).map(\.rawValue)
    )
  }

  private static func damage(_ pages: [PageNumber]) -> String? {
    guard let first = pages.first else { return nil }
    let what = pages.count == 1 ? "page \(first) is" : "\(pages.count) pages are"
    return "\(what) not what was committed: the disk lost it, or a program wrote into the node's "
      + "files; export the database on a replica and import it here"
  }

  private func peers() -> [NodeStatus.Peer] {
    switch roles.current {
    case .alone, .changing: return []
    case .primary, .opening, .lending:
      return (server?.peers() ?? []).map { peer in
        NodeStatus.Peer(
          name: peer.name,
          role: .replica,
          connected: peer.isConnected,
          lagMilliseconds: Self.milliseconds(peer.lag),
          matchIndex: peer.matchIndex.rawValue
        )
      }
    case .replica(let client, _):
      guard let status = client?.status, let name = status.primaryName else { return [] }
      return [
        NodeStatus.Peer(
          name: name,
          role: .primary,
          connected: status.isConnected,
          lagMilliseconds: nil,
          matchIndex: status.primaryLast.rawValue
        )
      ]
    }
  }

  func waiting() -> [String] {
    let majority = store.log.awaitingMajority
    let commits = majority > 0 ? ["\(majority) transactions wait for a majority of the voters"] : []
    let engine: ReplicaEngine
    switch roles.current {
    case .replica(_, let following), .opening(_, let following): engine = following
    case .lending(_, let lacking):
      let names = lacking.databasesToRepair().joined(separator: ", ")
      return [
        "this node was elected and lacks \(names): another one is to have its log and be the primary"
      ]
    case .alone, .primary, .changing: return commits
    }
    return commits
      + engine.waitingDatabases().map { name, index in
        "database \(name) waits to apply entry \(index)"
      }
      + engine.undecidedDatabases().map {
        "database \($0) waits until a primary says whether its last transactions are committed"
      }
      + engine.enteringDatabases().map { "database \($0) waits for a client to end a transaction" }
  }

  private func quarantine() -> [String] {
    let directory = store.configuration.directory + "/quarantine"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.sorted().map { directory + "/" + $0 }
  }
}
