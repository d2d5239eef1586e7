import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Databases that are removed, replaced or renamed on the primary while a replica waits for them.
@Suite(.timeLimit(.minutes(3)))
struct LoanedNameTests {
  /// A client of the primary keeps a database from being lent for which a replica has asked.
  private struct Wait {
    let cluster: ForwardingCluster
    let database: Database
    let loan: DatabaseLoan
    private let locks: [FileLocks]
    private let owner = LockOwner.kernel(4711)

    init(_ mode: String) throws {
      let cluster = try ForwardingCluster()
      self.cluster = cluster
      let here = try cluster.connect("a.db", on: 0)
      try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a); INSERT INTO t VALUES (1)")
      #expect(cluster.settle())
      here.close()
      let store = cluster.primary.store
      let database = try #require(store.database("a.db"))
      self.database = database
      let tables = [database.mainLocks, database.sharedMemoryLocks]
      locks = tables
      for (locks, kind, range) in [
        (tables[0], LockKind.read, MainLock.shared), (tables[0], .write, MainLock.reserved),
        (tables[1], .write, WALLock.write),
      ] {
        let owner = owner
        try completing { done in
          locks.set(LockRequest(owner: owner, kind: kind, range: range), wait: false) {
            done($0 == .granted ? nil : StoreError(.busy, "a lock is not free"))
          }
        }
      }
      let there = try cluster.connect("a.db", on: 1)
      there.busyTimeout(0)
      nonisolated(unsafe) let writer = there
      Thread.detachNewThread { _ = try? writer.run("INSERT INTO t VALUES (2)") }
      let found = eventually { store.state.withLock { $0.lending }?.known(database) != nil }
      try #require(found)
      let loan = try #require(store.state.withLock { $0.lending }?.known(database))
      self.loan = loan
      try #require(eventually { loan.standing.waiting == ["n1"] })
    }

    /// The client is gone; returns once nobody waits for the loan any more.
    func letGo() throws {
      for locks in locks { try completing { done in locks.releaseAll(owner: owner) { done(nil) } } }
      try #require(eventually { loan.standing.waiting.isEmpty || loan.state.withLock(\.hasEnded) })
      // What it has begun ends.
      loan.queue.sync {}
    }

    /// Everybody writes a database, and has the same in the end.
    func expectWritable(_ name: String, _ rows: Int) throws {
      #expect(cluster.settle())
      for node in [1, 0, 1] {
        let connection = try cluster.connect(name, on: node)
        try connection.run("INSERT INTO t VALUES (9)")
        connection.close()
      }
      #expect(cluster.settle())
      for node in [0, 1] {
        let connection = try cluster.connect(name, on: node)
        #expect(try connection.number("SELECT count(*) FROM t") == rows + 3)
        #expect(try connection.value("PRAGMA integrity_check") == "ok")
      }
    }
  }

  private static func remove(_ fixture: StoreFixture) throws {
    for suffix in ["", "-wal", "-shm"] {
      let name = FileName("a.db" + suffix)
      guard FileManager.default.fileExists(atPath: fixture.path(name.path)) else { continue }
      try completing { fixture.store.remove(name, done: $0) }
    }
  }

  /// What has the name now is left alone.
  @Test(arguments: ForwardingTests.modes)
  func aDatabaseOfTheSameNameIsLeftAlone(mode: String) throws {
    let wait = try Wait(mode)
    let fixture = wait.cluster.primary
    try Self.remove(fixture)
    let next = try wait.cluster.connect("a.db", on: 0)
    try next.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a); INSERT INTO t VALUES (7)")
    try next.run("BEGIN IMMEDIATE; INSERT INTO t VALUES (8)")
    let files = ["", "-journal", "-wal"].map { fixture.path("a.db") + $0 }
    let before = files.map { FileManager.default.contents(atPath: $0) }
    try wait.letGo()
    #expect(files.map { FileManager.default.contents(atPath: $0) } == before)
    try next.run("COMMIT")
    #expect(try next.value("SELECT group_concat(a) FROM t") == "7,8")
    #expect(try next.value("PRAGMA integrity_check") == "ok")
    next.close()
    try wait.expectWritable("a.db", 2)
  }

  /// Another file comes to stand under the name.
  @Test(arguments: ForwardingTests.modes)
  func aDatabaseThatWasReplacedIsLeftAlone(mode: String) throws {
    let wait = try Wait(mode)
    let fixture = wait.cluster.primary
    let other = try StoreFixture()
    let source = try other.connect("b.db")
    try source.run("CREATE TABLE t(a); INSERT INTO t VALUES (7)")
    source.close()
    try FileManager.default.copyItem(atPath: other.path("b.db"), toPath: fixture.path("plain"))
    try completing {
      fixture.store.rename("plain", to: "a.db", noReplace: false, exchange: false, done: $0)
    }
    let next = try fixture.connect("a.db")
    try next.run("BEGIN IMMEDIATE; INSERT INTO t VALUES (8)")
    let journal = fixture.path("a.db-journal")
    #expect(FileManager.default.fileExists(atPath: journal))
    try wait.letGo()
    #expect(FileManager.default.fileExists(atPath: journal))
    try next.run("COMMIT")
    next.close()
    try wait.expectWritable("a.db", 2)
  }

  /// The database goes on under another name. (Who has a write-ahead log open has it under the old one.)
  @Test(arguments: ForwardingTests.modes.filter { $0 != "wal" })
  func aRenamedDatabaseIsNotLentByItsOldName(mode: String) throws {
    let wait = try Wait(mode)
    let fixture = wait.cluster.primary
    try completing {
      fixture.store.rename("a.db", to: "b.db", noReplace: false, exchange: false, done: $0)
    }
    try wait.letGo()
    #expect(wait.loan.standing.holder == nil)
    let isLent = wait.database.isLent.load(ordering: .acquiring)
    #expect(!isLent)
    try wait.expectWritable("b.db", 1)
  }
}
