import Foundation
import LTX
import Testing

@testable import Store

/// A primary whose machine loses power at each operation on its disk, with whatever was not synced
/// lost, torn or out of order: a start finds everything that SQLite was told is durable, at the
/// boundary of a transaction.
@Suite(.timeLimit(.minutes(60)), .serialized)
final class CrashTests {
  private let directory: TestDirectory
  private let disk: CrashDisk
  private let fixture: StoreFixture
  private var history = CrashHistory()

  convenience init() throws { try self.init(followsLogs: false) }

  /// - Parameter followsLogs: whether clients write their write-ahead logs by themselves.
  private init(followsLogs: Bool) throws {
    directory = try TestDirectory("crash")
    disk = try CrashDisk(directory)
    fixture = try StoreFixture(directory, disk: disk) {
      $0.segmentBytes = 24 << 10
      $0.maxLogBytes = 40 << 10
      $0.retentionMilliseconds = 0
      $0.followsLogs = followsLogs
    }
    history.segmentBytes = 24 << 10
    try tell()
  }

  /// All that the log has is durable, as somebody was told.
  private func tell() throws {
    try history.advance(fixture.store.log)
    disk.note(.promise(fixture.store.log.last.index))
    disk.note(.boundary)
  }

  /// Transactions whose end SQLite reported after it had synced them.
  private func commit(_ connection: Connection, _ statements: String...) throws {
    for sql in statements {
      try connection.run(sql)
      try tell()
    }
  }

  private func maintain(everything: Bool = false) throws {
    try fixture.store.maintain(everything: everything)
    try history.advance(fixture.store.log)
  }

  private func crash(_ name: String, stride: Int = 1, onlyAtBoundaries: Bool = false) throws {
    var run = CrashRun(name, disk, history)
    run.stride = stride
    run.onlyAtBoundaries = onlyAtBoundaries
    let tally = try run.crashEverywhere()
    #expect(tally.images > (run.onlyAtBoundaries ? 8 : 20))
  }

  @Test func followedCommits() throws {
    try CrashTests(followsLogs: true).commits(.wal)
  }

  @Test(arguments: CommitCaptureTests.Mode.allCases)
  func commits(_ mode: CommitCaptureTests.Mode) throws {
    let connection = try fixture.connect("a.db")
    try commit(
      connection,
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); PRAGMA synchronous=FULL",
      "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
      "INSERT INTO t(a) VALUES (zeroblob(100))",
      "INSERT INTO t(a) VALUES (zeroblob(5000))",
      "UPDATE t SET a = hex(a)"
    )
    try maintain()
    try commit(
      connection,
      "INSERT INTO t(a) SELECT hex(a) FROM t",
      // Larger than the cache.
      "PRAGMA cache_size=2; BEGIN; UPDATE t SET a = a || 'x'; DELETE FROM t WHERE id = 2; COMMIT"
    )
    if mode != .off {
      try commit(
        connection,
        "BEGIN; UPDATE t SET a = 'never'; INSERT INTO t(a) SELECT a FROM t; ROLLBACK"
      )
    }
    try commit(connection, "DELETE FROM t WHERE id = 3", "INSERT INTO t(a) VALUES (zeroblob(3000))")
    if mode == .wal {
      try commit(connection, "PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t(a) VALUES (1)")
      try commit(connection, "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(a) VALUES (2)")
    }
    try maintain(everything: true)
    try commit(connection, "INSERT INTO t(a) VALUES (3)")
    connection.close()
    try fixture.store.shutDown()
    try crash("commits \(mode)", onlyAtBoundaries: mode == .memory || mode == .off)
  }

  /// Journals that use one file name other pages each time, and what they name may be stable and not in the log any more.
  @Test(arguments: ["delete", "truncate"], ["NORMAL", "FULL"])
  func usedJournals(_ mode: String, _ synchronous: String) throws {
    let connection = try fixture.connect("a.db")
    try commit(
      connection,
      """
      PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); PRAGMA synchronous=\(synchronous);
      CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(id INTEGER PRIMARY KEY, a);
      WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 6)
        INSERT INTO t SELECT n, zeroblob(600) FROM s;
      INSERT INTO u SELECT id, zeroblob(500) FROM t
      """
    )
    for round in 1...3 {
      try commit(connection, "UPDATE u SET a = a || 'x\(round)' WHERE id < \(round + 2)")
      try maintain(everything: true)
      try commit(
        connection,
        "UPDATE t SET a = a || 'y\(round)' WHERE id < 4",
        "UPDATE u SET a = a || 'z' WHERE id = \(round)",
        "BEGIN; UPDATE t SET a = 'never'; ROLLBACK",
        "UPDATE u SET a = a || 'v' WHERE id = 5"
      )
    }
    connection.close()
    try fixture.store.shutDown()
    try crash("used journals \(mode) \(synchronous)")
  }

  /// What gives a database another shape: its journal mode, its page size, its end.
  @Test func shapes() throws {
    let connection = try fixture.connect("a.db")
    try commit(
      connection,
      "PRAGMA page_size=512; PRAGMA auto_vacuum=INCREMENTAL",
      "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
      "INSERT INTO t(a) VALUES (zeroblob(9000)), (zeroblob(5000))"
    )
    for mode in ["wal", "truncate", "wal", "persist", "delete"] {
      try commit(
        connection,
        "PRAGMA journal_mode=\(mode)",
        "DELETE FROM t WHERE id = (SELECT min(id) FROM t)",
        "PRAGMA incremental_vacuum(5)",
        "INSERT INTO t(a) VALUES (randomblob(4000))",
        "VACUUM"
      )
      if mode == "persist" { try maintain(everything: true) }
    }
    try commit(
      connection,
      "PRAGMA page_size=1024",
      "VACUUM",
      "INSERT INTO t(a) VALUES (zeroblob(700))",
      "DROP TABLE t",
      "VACUUM"
    )
    connection.close()
    try maintain()
    try crash("shapes", stride: 3)
  }

  /// Databases that get another's name, and go.
  @Test(arguments: ["wal", "delete"]) func names(mode: String) throws {
    func create(_ name: String, _ rows: Int) throws {
      let connection = try fixture.connect(name)
      try commit(connection, "PRAGMA journal_mode=\(mode)", "CREATE TABLE t(a)")
      for row in 0..<rows {
        try commit(connection, "INSERT INTO t VALUES (zeroblob(\(row * 999)))")
      }
      connection.close()
      try tell()
    }
    func rename(_ source: String, _ target: String) throws {
      try completing {
        fixture.store.rename(source, to: target, noReplace: false, exchange: false, done: $0)
      }
      try tell()
    }
    try create("a.db", 3)
    try maintain()
    try create("b.db", 2)
    try rename("a.db", "c.db")
    try create("a.db", 2)
    try maintain(everything: true)
    try rename("a.db", "b.db")
    try completing { fixture.store.remove(FileName("c.db"), done: $0) }
    try tell()
    try create("c.db", 1)
    try rename("b.db", "a.db")
    try maintain()
    try rename("c.db", "d.db")
    try rename("d.db", "c.db")
    try create("b.db", 1)
    try completing { fixture.store.remove(FileName("b.db"), done: $0) }
    try tell()
    try maintain(everything: true)
    try crash("names \(mode)")
  }

  /// A transaction that comes to the log in parts.
  @Test(arguments: ["wal", "delete"]) func large(mode: String) throws {
    let connection = try fixture.connect("a.db")
    try commit(
      connection,
      "PRAGMA journal_mode=\(mode)",
      "CREATE TABLE t(a)",
      "INSERT INTO t VALUES (randomblob(1500000))",
      "UPDATE t SET a = randomblob(1300000)"
    )
    try maintain()
    try commit(connection, "DELETE FROM t", "INSERT INTO t VALUES (1)")
    try maintain(everything: true)
    try crash("large \(mode)", stride: 97)
  }

  /// Commits that SQLite was not told are durable may be lost, the last ones first.
  @Test(arguments: ["wal", "delete", "persist"]) func notSynced(mode: String) throws {
    let connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA journal_mode=\(mode); PRAGMA synchronous=NORMAL"
    )
    for n in 0..<14 {
      try connection.run(
        n == 0 ? "CREATE TABLE t(a)" : "INSERT INTO t VALUES (zeroblob(\(n % 4 * 1500)))"
      )
      try history.advance(fixture.store.log)
      if n % 5 == 4 { try maintain(everything: n == 9) }
    }
    connection.close()
    try maintain()
    try crash("not synced \(mode)")
  }
}
