import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// What changes how a database commits, and several connections at once.
@Suite(.timeLimit(.minutes(15)))
struct JournalModeTests {
  @Test(arguments: 1...6) func switchingModes(seed: Int) throws {
    var random = SeededRandom(UInt64(seed))
    let fixture = try StoreFixture()
    var workload = Workload(seed: UInt64(seed), style: .mixed, rollback: false)
    let connection = try fixture.connect("a.db")
    for round in 0..<60 {
      if round % 4 == 0 {
        let mode = CommitCaptureTests.Mode.allCases[random.below(6)]
        let now = try connection.value("PRAGMA journal_mode=\(mode)")
        #expect(now == mode.rawValue)
        try fixture.check("a.db", "journal_mode=\(mode)")
      }
      if round % 10 == 9 {
        // A new page size takes effect with VACUUM, outside of WAL mode.
        try connection.run("PRAGMA journal_mode=DELETE")
        let size = 512 << random.below(8)
        try connection.run("PRAGMA page_size=\(size); VACUUM")
        try fixture.check("a.db", "page_size=\(size)")
        #expect(try connection.number("PRAGMA page_size") == size)
        #expect(fixture.store.database("a.db")?.published.pageSize?.bytes == size)
      }
      let sql = workload.next()
      try connection.run(sql)
      try fixture.check("a.db", "seed \(seed), round \(round): \(sql.prefix(400))")
    }
    #expect(try connection.value("PRAGMA integrity_check") == "ok")
  }

  @Test(arguments: ["wal", "delete", "truncate", "persist", "memory", "off"])
  func exclusiveLocking(mode: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=\(mode)")
    var workload = Workload(seed: 3, style: .mixed, rollback: mode != "off")
    let isLate = mode == "memory" || mode == "off"
    for round in 0..<25 {
      try connection.run(workload.next())
      // Without a journal the end of a transaction shows only when the lock is given up.
      if !isLate { try fixture.check("a.db", "round \(round)") }
    }
    connection.close()
    try fixture.check("a.db", "close")
  }

  @Test(arguments: ["delete", "wal"], ["OFF", "NORMAL", "FULL", "EXTRA"])
  func synchronous(mode: String, level: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); PRAGMA synchronous=\(level)")
    var workload = Workload(seed: 11, style: .mixed, rollback: true)
    for round in 0..<25 {
      let sql = workload.next()
      try connection.run(sql)
      try fixture.check("a.db", "round \(round) \(sql.prefix(300))")
      if level == "FULL" || level == "EXTRA" {
        #expect(fixture.store.log.durable == fixture.store.log.last.index, "round \(round)")
      }
    }
  }

  /// Two writers, a reader that keeps its snapshot, checkpoints that it holds back.
  @Test(arguments: 1...4) func readersAndWriters(seed: Int) throws {
    var random = SeededRandom(UInt64(seed))
    let fixture = try StoreFixture()
    let writers = try (0..<2).map { _ in try fixture.connect("a.db") }
    try writers[0].run("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=20; CREATE TABLE t(a)")
    let reader = try fixture.connect("a.db")
    var seen = -1
    for round in 0..<120 {
      let writer = writers[random.below(2)]
      try writer.run(
        "INSERT INTO t VALUES (hex(zeroblob(\(random.below(3000))))); "
          + "UPDATE t SET a = \(round) WHERE rowid = \(1 + random.below(20))"
      )
      if seen < 0, random.below(5) == 0 {
        try reader.run("BEGIN")
        seen = try reader.number("SELECT count(*) FROM t")
      } else if seen >= 0 {
        #expect(try reader.number("SELECT count(*) FROM t") == seen)
        if random.below(8) == 0 {
          try reader.run("COMMIT")
          seen = -1
        }
      }
      try fixture.check("a.db", "seed \(seed), round \(round)")
      if round % 40 == 39 {
        try fixture.store.maintain()
        try fixture.check("a.db", "maintenance in round \(round)")
      }
    }
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
  }

  @Test(arguments: ["wal", "delete"]) func manyThreads(mode: String) throws {
    let fixture = try StoreFixture()
    let first = try fixture.connect("a.db")
    try first.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(thread, n)")
    let failures = Mutex<[String]>([])
    let (path, vfs) = (fixture.path("a.db"), fixture.vfs)
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      do {
        let connection = try Connection(path, vfs: vfs)
        connection.busyTimeout(60_000)
        for n in 0..<40 { try connection.run("INSERT INTO t VALUES (\(thread), \(n))") }
      } catch { failures.withLock { $0.append("\(error)") } }
    }
    #expect(failures.withLock { $0 } == [])
    #expect(try first.number("SELECT count(*) FROM t") == 160)
    try fixture.check("a.db", "four threads")
    #expect(fixture.position("a.db").txid.rawValue >= 161)
  }

  @Test func attachedDatabasesCommitTogether() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("ATTACH '\(fixture.path("b.db"))' AS b")
    try connection.run("CREATE TABLE t(x); CREATE TABLE b.u(x)")
    for round in 0..<10 {
      try connection.run(
        "BEGIN; INSERT INTO t VALUES (\(round)); INSERT INTO b.u VALUES (hex(zeroblob(9000))); "
          + (round % 3 == 2 ? "ROLLBACK" : "COMMIT")
      )
      try fixture.check("a.db", "round \(round)")
      try fixture.check("b.db", "round \(round)")
    }
    #expect(fixture.store.databases().map(\.name) == ["a.db", "b.db"])
  }

  /// A read-only connection, `.backup`-like copies and VACUUM INTO make databases of their own.
  @Test func copiesBecomeDatabases() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("CREATE TABLE t(a); INSERT INTO t VALUES (hex(zeroblob(20000)))")
    try connection.run("VACUUM INTO '\(fixture.path("copy.db"))'")
    try fixture.check("copy.db", "VACUUM INTO")
    #expect(fixture.position("copy.db").txid.rawValue >= 1)
    let reader = try fixture.connect("copy.db", readOnly: true)
    #expect(try reader.number("SELECT length(a) FROM t") == 40_000)
  }
}
