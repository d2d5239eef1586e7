import Foundation
import LTX
import Testing

@testable import Store

/// Two nodes that take turns as the primary, while clients keep their connections.
@Suite(.timeLimit(.minutes(5)))
struct RoleTests {
  /// Both nodes, and who follows.
  final class Cluster {
    let nodes: [StoreFixture]
    var engines: [ReplicaEngine?] = [nil, nil]
    var primary = 0
    var term: UInt64 = 1
    var random: SeededRandom

    /// - Parameter voters: whose majority commits wait for, these two nodes the first; none where they wait for
    ///   nobody.
    init(seed: UInt64 = 1, voters: [String] = []) throws {
      let changes: (inout StoreConfiguration) -> Void = { $0.changesRoles = true }
      nodes = try (0..<2).map { _ in try StoreFixture(role: .replica, configure: changes) }
      engines = try nodes.map { try ReplicaEngine(store: $0.store) }
      random = SeededRandom(seed)
      for (node, name) in zip(nodes, voters) {
        node.store.log.requireMajority(of: Set(voters), own: name)
      }
      try here.store.becomePrimary(Term(term))
      engines[0] = nil
      if !voters.isEmpty { try acknowledge() }
    }

    /// Sends what the follower lacks.
    func ship() throws {
      let engine = try #require(engines[1 - primary])
      while engine.logSummary().last.index < here.store.log.last.index {
        let next = engine.logSummary().last.index.next
        try engine.append(try here.store.read(from: next, maxBytes: 1 << 20))
      }
    }

    /// Sends what the follower lacks, and counts it as one that has everything.
    func acknowledge() throws {
      try ship()
      let last = here.store.log.last.index
      try there.store.log.syncAndWait(through: last)
      try here.store.log.syncAndWait(through: last)
      here.store.acknowledged(by: "n\(1 - primary)", through: last)
    }

    /// Tells the follower what is committed.
    private func tellCommitted(_ engine: ReplicaEngine) throws {
      let next = here.store.log.last.index.next
      if let notice = here.store.recent(from: next, maxBytes: 1) { try engine.append(notice) }
    }

    /// What holds the wal-index's dead-man switch, as the daemon's lock does on a mount.
    private var switches: [DeadManSwitch] = []

    /// A connection to a database of the node that follows.
    func connectThere(_ name: String, onPrimary: Bool = false) throws -> Connection {
      let node = onPrimary ? here : there
      let shm = node.path(name) + "-shm"
      if FileManager.default.fileExists(atPath: shm) { switches.append(try DeadManSwitch(shm)) }
      return try node.connect(name)
    }

    var here: StoreFixture { nodes[primary] }
    var there: StoreFixture { nodes[1 - primary] }

    /// Sends what the follower lacks, and waits until it is applied and both are the same.
    func follow() throws {
      let engine = try #require(engines[1 - primary])
      for _ in 0..<20 {
        try here.store.log.needsMajority ? acknowledge() : ship()
        try tellCommitted(engine)
        try repair(engine)
        if eventually(0.3, { engine.isCurrent }) { break }
      }
      #expect(engine.isCurrent, "entering: \(engine.enteringDatabases())")
      #expect(there.store.databases() == here.store.databases())
    }

    private func repair(_ engine: ReplicaEngine) throws {
      for name in engine.databasesToRepair() {
        let source = try here.store.openSnapshot(
          of: name,
          checksums: try engine.snapshotChecksums(of: name)
        )
        try engine.beginSnapshot(source.begin)
        while let pages = try source.next(maxBytes: 1 << 16) { try engine.addSnapshot(name, pages) }
        try engine.endSnapshot(name, try source.end())
      }
    }

    /// The other node is the primary from now on; it has everything.
    func change() throws {
      here.store.stepDown()
      try follow()
      try promoteOther()
    }

    /// The other node is the primary from now on, whatever it lacks.
    ///
    /// - Parameter restarted: what this node follows with, where it has just started.
    func promoteOther(_ restarted: ReplicaEngine? = nil) throws {
      term += 1
      let follower = try restarted ?? ReplicaEngine(store: here.store)
      if restarted == nil { here.store.follow(follower) }
      engines[primary] = follower
      primary = 1 - primary
      try open(engines[primary])
      engines[primary] = nil
      try here.store.becomePrimary(Term(term))
      follower.follow(Term(term))
    }

    /// What an elected node does before it may write: what its log holds is committed and applied.
    private func open(_ engine: ReplicaEngine?) throws {
      guard here.store.log.needsMajority, let engine else { return }
      let first = try here.store.open(Term(term))
      try here.store.log.syncAndWait(through: first)
      // The third voter has it.
      here.store.acknowledged(by: "n2", through: first)
      try #require(eventually { engine.isCurrent })
    }

    /// The follower's entries that this primary does not have go.
    func align() throws {
      let engine = try #require(engines[1 - primary])
      var common = min(engine.logSummary().last.index, here.store.log.last.index)
      while common > .zero, there.store.log.term(at: common) != here.store.log.term(at: common) {
        common = LogIndex(common.rawValue - 1)
      }
      try engine.truncate(after: common)
    }
  }

  static let modes = ["wal", "delete", "truncate", "persist"]

  @Test(arguments: modes)
  func connectionsGoOnOverChangesOfRoles(mode: String) throws {
    let cluster = try Cluster()
    let first = try cluster.nodes[0].connect("a.db")
    try first.run("PRAGMA journal_mode=\(mode)")
    try first.run("CREATE TABLE t(node, n)")
    try cluster.follow()
    let connections = [first, try cluster.connectThere("a.db")]
    var rows = 0
    for round in 0..<8 {
      for _ in 0..<(1 + cluster.random.below(5)) {
        try connections[cluster.primary].run("INSERT INTO t VALUES (\(cluster.primary), \(rows))")
        rows += 1
      }
      try cluster.follow()
      for connection in connections {
        #expect(try connection.number("SELECT count(*) FROM t") == rows, "round \(round)")
      }
      // The same connection could not write while its node was a replica.
      connections[1 - cluster.primary].busyTimeout(0)
      #expect(throws: (any Error).self) {
        try connections[1 - cluster.primary].run("INSERT INTO t VALUES (9, 9)")
      }
      try cluster.change()
    }
    try cluster.follow()
    for connection in connections {
      #expect(try connection.number("SELECT count(*) FROM t") == rows)
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
      #expect(try connection.number("SELECT count(*) FROM t WHERE node = 9") == 0)
    }
  }

  /// A client has locked a database that nobody else has open, and has not made the index of its log yet, when its
  /// node ceases to be the primary.
  @Test func theFirstUserOfALogMeetsTheChange() throws {
    let cluster = try Cluster()
    let maker = try cluster.nodes[0].connect("a.db")
    try maker.run("PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES (1)")
    maker.close()
    try cluster.follow()
    let old = cluster.here
    let database = try #require(old.store.database("a.db"))
    let shared = LockRequest(owner: .kernel(99), kind: .read, range: MainLock.shared)
    database.mainLocks.set(shared, wait: false) { #expect($0 == .granted) }
    try cluster.change()
    let writer = try cluster.connectThere("a.db", onPrimary: true)
    try writer.run("INSERT INTO t VALUES (2)")
    try cluster.ship()
    let engine = try #require(cluster.engines[1 - cluster.primary])
    #expect(!eventually(0.5) { engine.isCurrent })
    #expect(engine.enteringDatabases() == ["a.db"])
    // What SQLite leaves of an index that it is about to recover.
    _ = FileManager.default.createFile(
      atPath: old.path("a.db") + "-shm",
      contents: Data([0, 0, 0])
    )
    try cluster.follow()
    #expect(old.position("a.db") == cluster.here.position("a.db"))
  }

  /// A client is in the midst of a transaction when its node ceases to be the primary.
  @Test(arguments: modes)
  func transactionsUnderWayAreRolledBack(mode: String) throws {
    let cluster = try Cluster()
    let writer = try cluster.nodes[0].connect("a.db")
    try writer.run("PRAGMA journal_mode=\(mode)")
    try writer.run("PRAGMA cache_size=3")
    try writer.run("CREATE TABLE t(a, b)")
    try writer.run("INSERT INTO t VALUES (0, randomblob(50000))")
    try cluster.follow()
    let reader = try cluster.connectThere("a.db")
    for round in 0..<4 {
      try writer.run("BEGIN IMMEDIATE")
      // Large enough that pages reach the files before the commit.
      if round % 2 == 0 { try writer.run("INSERT INTO t VALUES (1, randomblob(300000))") }
      cluster.here.store.stepDown()
      #expect(throws: (any Error).self) {
        try writer.run("INSERT INTO t VALUES (2, randomblob(300000))")
        try writer.run("COMMIT")
      }
      _ = try? writer.run("ROLLBACK")
      try cluster.promoteOther()
      try cluster.align()
      try reader.run("INSERT INTO t VALUES (3, 'other')")
      try cluster.follow()
      #expect(try writer.number("SELECT count(*) FROM t WHERE a IN (1, 2)") == 0)
      #expect(try writer.number("SELECT count(*) FROM t WHERE a = 3") == round + 1)
      #expect(try writer.value("PRAGMA integrity_check") == "ok")
      try cluster.change()
      try cluster.follow()
    }
    try writer.run("INSERT INTO t VALUES (4, 'again')")
    try cluster.follow()
    #expect(try reader.number("SELECT count(*) FROM t WHERE a = 4") == 1)
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
  }

  /// What only the old primary has is set aside, and its databases become the new one's.
  @Test(arguments: ["wal", "delete"])
  func aDivergedTailIsSetAside(mode: String) throws {
    let cluster = try Cluster()
    let old = try cluster.nodes[0].connect("a.db")
    try old.run("PRAGMA journal_mode=\(mode)")
    try old.run("CREATE TABLE t(a)")
    try cluster.follow()
    let other = try cluster.connectThere("a.db")
    for round in 0..<3 {
      for n in 0..<20 { try old.run("INSERT INTO t VALUES ('lost \(round) \(n)')") }
      cluster.here.store.stepDown()
      try cluster.promoteOther()
      try other.run("INSERT INTO t VALUES ('kept \(round)')")
      try cluster.align()
      try cluster.follow()
      #expect(try old.number("SELECT count(*) FROM t WHERE a LIKE 'lost%'") == 0)
      #expect(try old.number("SELECT count(*) FROM t") == round + 1)
      #expect(try old.value("PRAGMA integrity_check") == "ok")
      let quarantine = cluster.nodes[0].directory.path + "/quarantine"
      #expect(try FileManager.default.contentsOfDirectory(atPath: quarantine).count == round + 1)
      try cluster.change()
      try cluster.follow()
    }
  }

  /// The first to open a database after its node ceased to be the primary would build the wal-index, and must not.
  @Test func readersThatComeMeanwhileWait() throws {
    let cluster = try Cluster()
    var rows = 0
    for round in 0..<4 {
      let writer = try cluster.here.connect("a.db")
      try writer.run("PRAGMA journal_mode=wal")
      try writer.run("CREATE TABLE IF NOT EXISTS t(a)")
      try writer.run("INSERT INTO t VALUES (\(round))")
      rows += 1
      try cluster.follow()
      // Odd rounds leave a write-ahead log behind, even ones none.
      if round % 2 == 0 { writer.close() }
      let old = cluster.here
      old.store.stepDown()
      try cluster.promoteOther()
      let reader = try old.connect("a.db")
      #expect(try reader.number("SELECT count(*) FROM t") == rows, "round \(round)")
      reader.close()
      try cluster.follow()
      if round % 2 == 1 { writer.close() }
      try cluster.change()
      try cluster.follow()
    }
  }

  /// A journal that a writer has left is played back before anything is applied, and not over it.
  @Test func nothingIsAppliedUnderAHotJournal() throws {
    let cluster = try Cluster()
    let writer = try cluster.here.connect("a.db")
    try writer.run("PRAGMA journal_mode=delete; PRAGMA cache_size=2; CREATE TABLE t(a, b)")
    try writer.run(
      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
        + "INSERT INTO t SELECT i, zeroblob(500) FROM n"
    )
    try cluster.follow()
    // More than the cache holds, so that the journal is synced before pages are written.
    try writer.run("BEGIN; UPDATE t SET b = zeroblob(499)")
    let (from, to) = (cluster.here.path("a.db-journal"), cluster.there.path("a.db-journal"))
    let left = try Data(contentsOf: URL(fileURLWithPath: from))
    try writer.run("ROLLBACK")
    try left.write(to: URL(fileURLWithPath: to))
    #expect(try #require(cluster.there.store.database("a.db")).hasHotJournal())
    try writer.run("UPDATE t SET a = a + 1000")
    try cluster.follow()
    #expect(!FileManager.default.fileExists(atPath: to))
    try cluster.promoteOther()
    let reader = try cluster.connectThere("a.db", onPrimary: true)
    #expect(try reader.number("SELECT min(a) FROM t") == 1001)
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
  }

  @Test func nothingIsCommittedAfterTheLeaseOrUnderAnEarlierTerm() throws {
    let cluster = try Cluster()
    let writer = try cluster.here.connect("a.db")
    try writer.run("PRAGMA journal_mode=wal")
    try writer.run("CREATE TABLE t(a)")
    let log = cluster.here.store.log
    log.setLease { false }
    let last = log.last
    #expect(throws: (any Error).self) { try writer.run("INSERT INTO t VALUES (1)") }
    #expect(log.last == last)
    log.setLease { true }
    try writer.run("INSERT INTO t VALUES (2)")
    #expect(try writer.value("SELECT group_concat(a) FROM t") == "2")
    #expect(log.fence(Term(5)) == log.last)
    #expect(throws: (any Error).self) { try writer.run("INSERT INTO t VALUES (3)") }
    #expect(throws: StoreError.self) { try log.begin(Term(4)) }
    try log.begin(Term(5))
    try writer.run("INSERT INTO t VALUES (4)")
    #expect(try writer.value("SELECT group_concat(a) FROM t") == "2,4")
    // A replica takes nothing of a primary whose term is over.
    let replica = try #require(cluster.engines[1])
    cluster.there.store.log.fence(Term(6))
    replica.follow(Term(5))
    let batch = try cluster.here.store.read(from: LogIndex(1), maxBytes: 1 << 20)
    #expect(throws: StoreError.self) { try replica.append(batch) }
    #expect(cluster.there.store.log.last == .zero)
    replica.follow(Term(6))
    try replica.append(batch)
    // Nor does it let him cut what it may have been elected with.
    let taken = cluster.there.store.log.last
    cluster.there.store.log.fence(Term(7))
    #expect(throws: StoreError.self) { try replica.truncate(after: LogIndex(1)) }
    #expect(throws: StoreError.self) { try replica.reset(to: taken, databases: []) }
    #expect(cluster.there.store.log.last == taken)
    #expect(replica.databasesToRepair().isEmpty)
    replica.follow(Term(7))
    try replica.truncate(after: LogIndex(1))
    #expect(cluster.there.store.log.last.index == LogIndex(1))
    #expect(replica.databasesToRepair() == ["a.db"])
    // Who follows a primary takes nothing any more of one before.
    replica.follow(Term(6))
    #expect(throws: StoreError.self) { try replica.truncate(after: .zero) }
  }

  /// Whoever is about to write while the lease is handed over waits, and goes on where this node stays the primary.
  @Test(arguments: ["wal", "delete"])
  func writersWaitForAHandOver(mode: String) throws {
    let cluster = try Cluster()
    let writer = try cluster.here.connect("a.db")
    try writer.run("PRAGMA journal_mode=\(mode)")
    try writer.run("CREATE TABLE t(a)")
    writer.busyTimeout(0)
    for isKept in [true, false] {
      cluster.here.store.pauseWriters()
      #expect(cluster.here.store.isQuiet)
      let store = cluster.here.store
      let thread = Thread {
        #expect(eventually { store.paused.isWaitedFor })
        if !isKept { store.stepDown() }
        store.resumeWriters()
      }
      thread.start()
      if isKept {
        try writer.run("INSERT INTO t VALUES (1)")
      } else {
        #expect(throws: (any Error).self) { try writer.run("INSERT INTO t VALUES (1)") }
      }
    }
    #expect(try writer.number("SELECT count(*) FROM t") == 1)
  }
}
