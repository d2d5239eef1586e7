import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Clients of replicas write.
@Suite(.timeLimit(.minutes(5)))
struct ForwardingTests {
  static let modes = ["wal", "delete", "truncate", "persist"]
  static let ways = modes.flatMap { mode in [false, true].map { (mode, $0) } }

  @Test(arguments: ways)
  func whatAReplicaWritesIsEverywhere(mode: String, quorum: Bool) throws {
    let cluster = try ForwardingCluster(quorum: quorum)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(node, n)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    let start = ContinuousClock.now
    for n in 0..<20 {
      try there.run("INSERT INTO t VALUES (1, \(n))")
      #expect(try there.number("SELECT count(*) FROM t WHERE node = 1") == n + 1)
      if n % 5 == 4 { try here.run("INSERT INTO t VALUES (0, \(n))") }
    }
    // Nobody has waited for what will not come.
    #expect(ContinuousClock.now - start < .milliseconds(ParkedWriters.patience))
    #expect(cluster.settle())
    for connection in [here, there] {
      #expect(try connection.number("SELECT count(*) FROM t") == 24)
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }
}

extension ForwardingTests {
  @Test(arguments: ways)
  func allNodesWriteAtOnce(mode: String, quorum: Bool) throws {
    let cluster = try ForwardingCluster(replicas: 2, quorum: quorum)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(node, n)")
    #expect(cluster.settle())
    let rows = 40
    let failures = Mutex<[String]>([])
    nonisolated(unsafe) let nodes = cluster
    DispatchQueue.concurrentPerform(iterations: 3) { node in
      do {
        let cluster = nodes
        let connection = try cluster.connect("a.db", on: node)
        for n in 0..<rows { try connection.run("INSERT INTO t VALUES (\(node), \(n))") }
      } catch { failures.withLock { $0.append("node \(node): \(error)") } }
    }
    #expect(failures.withLock { $0 }.isEmpty)
    #expect(cluster.settle())
    for node in 0..<3 {
      let connection = try cluster.connect("a.db", on: node)
      #expect(try connection.number("SELECT count(*) FROM t") == 3 * rows)
      #expect(try connection.number("SELECT count(DISTINCT node * 1000 + n) FROM t") == 3 * rows)
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }

  /// A replica's client reads, another node commits, and the client wants to write what it has read.
  @Test(arguments: modes)
  func aStaleSnapshotIsRefused(mode: String) throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a); INSERT INTO t VALUES (1)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    there.busyTimeout(0)
    try there.run("BEGIN")
    #expect(try there.number("SELECT a FROM t") == 1)
    try here.run("UPDATE t SET a = 2")
    #expect(throws: Connection.Failure.self) { try there.run("UPDATE t SET a = a + 10") }
    try there.run("ROLLBACK")
    there.busyTimeout(10_000)
    try there.run("UPDATE t SET a = a + 10")
    #expect(cluster.settle())
    #expect(try here.number("SELECT a FROM t") == 12)
  }

  @Test(arguments: modes)
  func everyKindOfTransaction(mode: String) throws {
    let cluster = try ForwardingCluster()
    let there = try cluster.connect("new.db", on: 1)
    try there.run("PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); CREATE TABLE t(a, b)")
    try there.run("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 'one'); COMMIT")
    try there.run("BEGIN EXCLUSIVE; INSERT INTO t VALUES (2, 'two'); ROLLBACK")
    try there.run(
      "BEGIN; INSERT INTO t VALUES (3, 'three'); SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT"
    )
    try there.run("CREATE INDEX i ON t(b); ALTER TABLE t ADD COLUMN c")
    // Above what one entry of the log takes.
    try there.run(
      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
        + "INSERT INTO t SELECT i + 10, hex(randomblob(300)), i FROM n"
    )
    try there.run("DELETE FROM t WHERE c > 10; VACUUM")
    #expect(cluster.settle())
    var here = try cluster.connect("new.db", on: 0)
    #expect(
      try here.value("SELECT group_concat(a || coalesce(c, '')) FROM t WHERE a < 14")
        == "1,3,111,122,133"
    )
    #expect(try here.value("PRAGMA integrity_check") == "ok")
    let other = mode == "wal" ? "delete" : "wal"
    if mode == "wal" {
      // As on one node, the log cannot end while others use it.
      #expect(throws: Connection.Failure.self) { try there.run("PRAGMA journal_mode=delete") }
      here.close()
    }
    let changed = try there.run("PRAGMA journal_mode=\(other)")
    #expect(changed == [[other]])
    try there.run("DELETE FROM t")
    #expect(try there.number("SELECT count(*) FROM t") == 0)
    #expect(cluster.settle())
    here = try cluster.connect("new.db", on: 0)
    #expect(try here.number("SELECT count(*) FROM t") == 0)
    try here.run("INSERT INTO t VALUES (9, 9, 9)")
    #expect(cluster.settle())
    #expect(try there.number("SELECT count(*) FROM t") == 1)
    for connection in [here, there] {
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }

  /// A database with one table, and a replica's client that has inserted a row and not committed it.
  private static func inTransaction(
    _ mode: String
  ) throws -> (ForwardingCluster, here: Connection, there: Connection) {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    try there.run("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    return (cluster, here, there)
  }

  /// The connection breaks while a transaction is under way: its client sees an error, and the next attempt, over a
  /// new connection, succeeds.
  @Test(arguments: modes)
  func aBrokenConnectionEndsTheGrant(mode: String) throws {
    let (cluster, here, there) = try Self.inTransaction(mode)
    cluster.disconnect()
    try here.run("INSERT INTO t VALUES (2)")
    #expect(throws: Connection.Failure.self) { try there.run("COMMIT") }
    _ = try? there.run("ROLLBACK")
    cluster.connect()
    try there.run("INSERT INTO t VALUES (3)")
    #expect(cluster.settle())
    for connection in [here, there] {
      #expect(try connection.value("SELECT group_concat(a) FROM t") == "2,3")
    }
  }

  /// The answer to a commit is lost with the connection; the log tells that it has happened.
  @Test(arguments: modes)
  func aLostAnswerIsFoundInTheLog(mode: String) throws {
    let (cluster, here, there) = try Self.inTransaction(mode)
    let link = cluster.links[0]
    link.losesAnswers.withLock { $0 = true }
    let result = Mutex<Result<Void, any Error>?>(nil)
    let last = cluster.primary.store.log.last
    nonisolated(unsafe) let connection = there
    DispatchQueue(label: "test.commit").async {
      let outcome = Result { _ = try connection.run("COMMIT") }
      result.withLock { $0 = outcome }
    }
    #expect(eventually { cluster.primary.store.log.last > last })
    #expect(result.withLock { $0 == nil })
    cluster.disconnect()
    cluster.connect()
    #expect(eventually { result.withLock { $0 != nil } })
    try result.withLock { try $0?.get() }
    #expect(try there.number("SELECT count(*) FROM t") == 1)
    try there.run("INSERT INTO t VALUES (2)")
    #expect(cluster.settle())
    #expect(try here.number("SELECT count(*) FROM t") == 2)
  }

  /// A replica that comes back has been told where the log ends: what it sent before must not come behind that.
  @Test(arguments: modes)
  func anEarlierConnectionAppendsNothing(mode: String) throws {
    let (cluster, here, there) = try Self.inTransaction(mode)
    cluster.primary.store.endLending(to: "n1")
    let last = cluster.primary.store.log.last
    #expect(throws: Connection.Failure.self) { try there.run("COMMIT") }
    #expect(cluster.primary.store.log.last == last)
    _ = try? there.run("ROLLBACK")
    cluster.disconnect()
    cluster.connect()
    try there.run("INSERT INTO t VALUES (2)")
    #expect(cluster.settle())
    #expect(try here.value("SELECT group_concat(a) FROM t") == "2")
  }

  /// While its clients write one database, and the primary's another, a replica gives copies of both.
  @Test(arguments: modes)
  func aWriterIsExported(mode: String) throws {
    let cluster = try ForwardingCluster(quorum: true)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    try there.run("INSERT INTO t VALUES (1)")
    let other = try cluster.connect("b.db", on: 0)
    try other.run("CREATE TABLE t(a)")
    #expect(cluster.settle())
    let replica = cluster.nodes[1].store
    #expect(try #require(replica.database("a.db")).isBorrowed.load(ordering: .acquiring))
    for name in ["a.db", "b.db"] {
      let reader = try replica.openSnapshot(of: name, checksums: [])
      #expect(try reader.end().position == cluster.primary.store.database(name)?.published.position)
    }
    try replica.maintain()
  }

  /// Whoever was told that nobody knows what became of a transaction, or that the primary could not take it in time, and
  /// looks, must not find it later.
  @Test(arguments: [0.5, 30])
  func aTransactionThatWasGivenUpIsNotAppendedLater(outcomeSeconds: Double) throws {
    let cluster = try ForwardingCluster(outcomeSeconds: outcomeSeconds)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    try there.run("INSERT INTO t VALUES (1)")
    // What is written from now on cannot be applied on the primary.
    try here.run("BEGIN; SELECT * FROM t")
    try there.run("INSERT INTO t VALUES (2)")
    let start = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try there.run("INSERT INTO t VALUES (3)") }
    #expect(ContinuousClock.now - start < .seconds(20))
    try here.run("COMMIT")
    #expect(cluster.settle())
    try there.run("INSERT INTO t VALUES (4)")
    #expect(cluster.settle())
    for connection in [here, there] {
      #expect(try connection.value("SELECT group_concat(a) FROM t") == "1,2,4")
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }

  @Test func aGrantThatHasEndedIsForgotten() throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("CREATE TABLE t(a)")
    let answers = Mutex<[GrantAnswer]>([])
    let lender = Lender(node: "n9", store: cluster.primary.store) { answer in
      answers.withLock { $0.append(answer) }
    }
    defer { lender.close() }
    // More often than one connection may have grants.
    for number in 1...UInt64(Lender.most + 1) {
      let id = GrantID(number)
      lender.receive(.ask(id, database: "a.db"))
      #expect(lender.isGranted(id))
      lender.answer(.ended(id, reason: "for the test"))
      #expect(!lender.isGranted(id))
    }
    let last = cluster.primary.store.log.last
    lender.receive(.append(GrantID(1), .transaction, payload: [1]))
    #expect(
      answers.withLock { $0.last }
        == .refused(GrantID(1), reason: "the grant is over, or is being used")
    )
    #expect(cluster.primary.store.log.last == last)
  }

  @Test func partsAreNeededUntilTheirTransactionIsApplied() {
    var parts = StagedParts()
    #expect(parts.first == nil)
    parts.staged(LogIndex(5))
    parts.staged(LogIndex(6))
    #expect(parts.first == LogIndex(5))
    parts.committed()
    parts.staged(LogIndex(9))
    #expect(parts.first == LogIndex(5))
    parts.applied()
    #expect(parts.first == LogIndex(9))
    parts.abandoned()
    #expect(parts.first == nil)
  }
}

extension ForwardingTests {
  /// SQLite's busy handler counts its attempts: were each of them kept waiting, five seconds would be as many minutes.
  @Test(arguments: ["wal", "delete"])
  func aBusyTimeoutIsKeptWithoutAPrimary(mode: String) throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    #expect(try there.number("SELECT count(*) FROM t") == 0)
    cluster.disconnect()
    there.busyTimeout(2_000)
    let start = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try there.run("INSERT INTO t VALUES (1)") }
    #expect(ContinuousClock.now - start < .seconds(8))
    there.busyTimeout(0)
    let second = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try there.run("INSERT INTO t VALUES (1)") }
    #expect(ContinuousClock.now - second < .milliseconds(ParkedWriters.patienceAlone / 2))
    cluster.connect()
    there.busyTimeout(10_000)
    try there.run("INSERT INTO t VALUES (2)")
    #expect(cluster.settle())
    #expect(try here.number("SELECT count(*) FROM t") == 1)
  }
}
