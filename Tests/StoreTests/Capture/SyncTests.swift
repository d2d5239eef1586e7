import Synchronization
import Testing

@testable import Store

/// Which syncs a transaction with a rollback journal costs: that of the main file is left out where the
/// log does the transaction again after a crash.
struct SyncTests {
  private let disk = FaultyDisk()
  private let fixture: StoreFixture
  private let connection: Connection

  init() throws {
    fixture = try StoreFixture(disk: disk)
    connection = try fixture.connect("a.db")
    try connection.run(
      """
      PRAGMA page_size=1024; PRAGMA synchronous=FULL; PRAGMA cache_size=4; PRAGMA cache_spill=2;
      CREATE TABLE t(n INTEGER PRIMARY KEY, a);
      WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 60)
        INSERT INTO t SELECT n, zeroblob(500) FROM s
      """
    )
  }

  /// What statements sync, and when the journal ends, in order.
  private func steps(_ statements: String) throws -> [String] {
    try steps(by: connection, statements)
  }

  private func steps(by connection: Connection, _ statements: String) throws -> [String] {
    let seen = Mutex<[String]>([])
    disk.watcher.withLock {
      $0 = { operation, path in
        let isEnd = operation == .write && path.hasSuffix("-journal")
        guard operation == .sync || operation == .remove || isEnd else { return }
        let name = path.contains("/log/") ? "log" : path.hasSuffix("-journal") ? "journal" : "main"
        seen.withLock { $0.append("\(operation.rawValue) \(name)") }
      }
    }
    defer { disk.watcher.withLock { $0 = nil } }
    try connection.run(statements)
    let all = seen.withLock { $0 }
    // Then nobody waits for anything any more.
    let ends: Set = ["write journal", "remove journal"]
    let end = all.lastIndex(where: ends.contains) ?? all.endIndex - 1
    // The last write ends a journal whose file stays.
    return all.prefix(through: end).enumerated().compactMap { index, step in
      guard ends.contains(step) else { return step }
      return index == end ? "end journal" : nil
    }
  }

  @Test func aCommit() throws {
    let steps = try steps("UPDATE t SET a = zeroblob(400) WHERE n = 7")
    #expect(Set(steps) == ["sync journal", "sync log", "end journal"])
    #expect(steps.suffix(2) == ["sync log", "end journal"])
    try fixture.check("a.db")
  }

  /// What was written before the rollback may be on the disk, and no log entry says what was there.
  @Test func aRollback() throws {
    let steps = try steps("BEGIN; UPDATE t SET a = zeroblob(400); ROLLBACK")
    #expect(steps.contains("sync journal"))
    #expect(steps.suffix(2) == ["sync main", "end journal"])
    try fixture.check("a.db")
  }

  /// Pages that were written and are what they were in the end are not in the log.
  @Test func aPartThatWasUndone() throws {
    let steps = try steps(
      """
      BEGIN; UPDATE t SET a = zeroblob(300) WHERE n = 1; SAVEPOINT s; UPDATE t SET a = zeroblob(400);
      ROLLBACK TO s; COMMIT
      """
    )
    #expect(steps.suffix(3) == ["sync main", "sync log", "end journal"])
    try fixture.check("a.db")
  }

  /// With a super-journal, no journal counts any more once that is gone.
  @Test func severalDatabases() throws {
    try fixture.connect("b.db").run("CREATE TABLE t(a)")
    try connection.run("ATTACH '\(fixture.path("b.db"))' AS b")
    let steps = try steps(
      "BEGIN; UPDATE t SET a = zeroblob(9) WHERE n = 1; INSERT INTO b.t VALUES (1); COMMIT"
    )
    let end = try #require(steps.firstIndex(of: "remove main"))
    #expect(steps[..<end].count { $0 == "sync main" } >= 2)
    try fixture.check("a.db")
    try fixture.check("b.db")
  }

  @Test func withoutASyncedJournal() throws {
    try connection.run("PRAGMA journal_mode=MEMORY")
    #expect(try steps("UPDATE t SET a = zeroblob(400) WHERE n = 7").contains("sync main"))
    try fixture.check("a.db")
  }

  /// A journal that has ended says nothing about the next transaction, which may have none.
  @Test func aJournalThatHasEnded() throws {
    try connection.run("PRAGMA journal_mode=PERSIST; UPDATE t SET a = zeroblob(401) WHERE n = 7")
    let other = try fixture.connect("a.db")
    try other.run("PRAGMA synchronous=FULL; PRAGMA journal_mode=MEMORY")
    let steps = try steps(by: other, "UPDATE t SET a = zeroblob(402) WHERE n = 8")
    #expect(steps.contains("sync main"))
    try fixture.check("a.db")
  }

  /// What a failed sync should have written may be lost, and the next one would not say so: all is written again
  /// before anything is called stable.
  @Test func afterAFailedSyncTheFileIsWrittenAgain() throws {
    try fixture.store.maintain(everything: true)
    let database = try #require(fixture.store.database("a.db"))
    let before = database.state.withLock { $0.stable }
    try connection.run("UPDATE t SET a = zeroblob(403) WHERE n = 7")
    disk.fail([.sync], at: 1, path: "a.db")
    _ = try? fixture.store.maintain(everything: true)
    #expect(!disk.failures.isEmpty)
    disk.heal()
    #expect(database.state.withLock { $0.stable } == before)
    let written = Mutex(0)
    disk.watcher.withLock {
      $0 = { operation, path in
        if operation == .write, path.hasSuffix("a.db") { written.withLock { $0 += 1 } }
      }
    }
    // Not while a client may be writing it.
    try connection.run("BEGIN EXCLUSIVE")
    _ = try? fixture.store.maintain(everything: true)
    #expect(written.withLock { $0 } == 0)
    #expect(database.state.withLock { $0.stable } == before)
    try connection.run("COMMIT")
    try fixture.store.maintain(everything: true)
    disk.watcher.withLock { $0 = nil }
    #expect(written.withLock { $0 } > 0)
    #expect(database.state.withLock { $0.stable } > before)
    try fixture.check("a.db")
  }
}
