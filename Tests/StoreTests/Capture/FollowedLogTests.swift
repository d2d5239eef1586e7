import LTX
import Synchronization
import Testing

@testable import Store

/// Write-ahead logs that clients write by themselves, as with passthrough.
@Suite(.timeLimit(.minutes(15)))
struct FollowedLogTests {
  /// A node, which follows the logs of its clients, on a new directory or on what another one left.
  private func start(
    _ directory: TestDirectory? = nil,
    disk: FaultyDisk = FaultyDisk(),
    boot: String?
  ) throws -> StoreFixture {
    try StoreFixture(directory, disk: disk) {
      $0.followsLogs = true
      $0.boot = boot
    }
  }

  private func prepared(
    _ disk: FaultyDisk = FaultyDisk(),
    boot: String? = nil
  ) throws -> (StoreFixture, Connection) {
    let fixture = try start(disk: disk, boot: boot)
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=wal; PRAGMA synchronous=NORMAL; CREATE TABLE t(a)")
    try connection.run("INSERT INTO t VALUES (1)")
    return (fixture, connection)
  }

  /// Copies the directory when the next writer is about to give up its lock: its commit is in the write-ahead
  /// log and shown by the wal-index, and not yet in the log.
  private func copy(of fixture: StoreFixture, atTheEndOf body: () throws -> Void) throws
    -> TestDirectory
  {
    let made = Mutex<Result<TestDirectory, any Error>?>(nil)
    let path = fixture.directory.path
    fixture.vfs.beforeWriterLeaves.withLock { hook in
      hook = { made.withLock { if $0 == nil { $0 = Result { try TestDirectory.copy(of: path) } } } }
    }
    try body()
    fixture.vfs.beforeWriterLeaves.withLock { $0 = nil }
    return try #require(made.withLock { $0 }).get()
  }

  @Test func noWriteComesToTheStore() throws {
    let (fixture, connection) = try prepared()
    for number in 2...50 {
      try connection.run("INSERT INTO t VALUES (\(number))")
      try fixture.check("a.db", "row \(number)")
    }
    #expect(fixture.vfs.counts.withLock { $0.walWrites } == 0)
    #expect(try connection.value("SELECT count(*) FROM t") == "50")
  }

  @Test("A commit that the node's end kept from the log", arguments: ["NORMAL", "OFF", "FULL"])
  func theNodeEnds(synchronous: String) throws {
    let (fixture, connection) = try prepared(boot: "one")
    try connection.run("PRAGMA synchronous=\(synchronous)")
    let before = fixture.store.log.last.index
    let left = try copy(of: fixture) {
      try connection.run("INSERT INTO t VALUES (2), (3)")
    }
    let again = try start(left, boot: "one")
    #expect(try again.connect("a.db").value("SELECT group_concat(a) FROM t") == "1,2,3")
    #expect(again.store.log.last.index > before)
    try again.check("a.db", "the start")
    #expect(try again.connect("a.db").value("PRAGMA integrity_check") == "ok")
  }

  @Test("The same after a crash of the machine: what was not synced was not promised")
  func theMachineEnds() throws {
    let (fixture, connection) = try prepared(boot: "one")
    let left = try copy(of: fixture) { try connection.run("INSERT INTO t VALUES (2)") }
    let again = try start(left, boot: "two")
    #expect(try again.connect("a.db").value("SELECT group_concat(a) FROM t") == "1")
    try again.check("a.db", "the start")
  }

  @Test("A log started over just before the end", arguments: ["RESTART", "TRUNCATE"])
  func startedOver(checkpoint: String) throws {
    let (fixture, connection) = try prepared(boot: "one")
    try connection.run("PRAGMA wal_checkpoint(\(checkpoint))")
    let left = try copy(of: fixture) { try connection.run("INSERT INTO t VALUES (2)") }
    let again = try start(left, boot: "one")
    #expect(try again.connect("a.db").value("SELECT group_concat(a) FROM t") == "1,2")
    try again.check("a.db", "the start")
  }

  @Test("The start that takes up a commit is interrupted at each of its operations")
  func interruptedStart() throws {
    let (fixture, connection) = try prepared(boot: "one")
    let left = try copy(of: fixture) { try connection.run("INSERT INTO t VALUES (2)") }
    for number in 1... {
      let image = try TestDirectory.copy(of: left.path)
      let disk = FaultyDisk()
      disk.fail(at: number, sticky: true)
      _ = try? start(image, disk: disk, boot: "one")
      let again = try start(image, boot: "one")
      let rows = try again.connect("a.db").value("SELECT group_concat(a) FROM t")
      #expect(rows == "1,2", "interrupted at operation \(number)")
      try again.check("a.db", "the start after operation \(number)")
      guard disk.counted >= number else { break }
    }
  }

  @Test("Nobody writes while a commit cannot be brought into the log")
  func theLogFails() throws {
    let disk = FaultyDisk()
    let (fixture, connection) = try prepared(disk)
    let other = try fixture.connect("a.db")
    disk.fail([.write], at: 1, sticky: true, path: "/log/", code: .full)
    // SQLite has committed it by then.
    try connection.run("INSERT INTO t VALUES (2)")
    #expect(throws: (any Error).self) { try other.run("INSERT INTO t VALUES (3)") }
    #expect(fixture.store.database("a.db")?.published.problem != nil)
    #expect(try other.value("SELECT group_concat(a) FROM t") == "1,2")
    disk.heal()
    try other.run("INSERT INTO t VALUES (4)")
    #expect(fixture.store.database("a.db")?.published.problem == nil)
    try fixture.check("a.db", "the disk is mended")
    #expect(try other.value("SELECT group_concat(a) FROM t") == "1,2,4")
  }

  @Test("A sync that cannot be answered fails the commit")
  func theSyncFails() throws {
    let disk = FaultyDisk()
    let (fixture, connection) = try prepared(disk)
    try connection.run("PRAGMA synchronous=FULL")
    disk.fail([.write], at: 1, sticky: true, path: "/log/", code: .system(5))
    #expect(throws: (any Error).self) { try connection.run("INSERT INTO t VALUES (2)") }
    disk.heal()
    try connection.run("INSERT INTO t VALUES (3)")
    try fixture.check("a.db", "the disk is mended")
    #expect(try connection.value("SELECT group_concat(a) FROM t") == "1,3")
  }

  @Test(
    "A client takes the database for itself while its log is passed through",
    arguments: ["NORMAL", "OFF", "FULL"]
  )
  func kept(synchronous: String) throws {
    let (fixture, connection) = try prepared()
    try connection.run(
      "PRAGMA synchronous=\(synchronous); PRAGMA locking_mode=EXCLUSIVE; PRAGMA wal_autocheckpoint=3"
    )
    for number in 2...40 {
      try connection.run("INSERT INTO t VALUES (\(number))")
      if number % 9 == 0 { try fixture.store.maintain() }
      if synchronous == "FULL" { try fixture.check("a.db", "row \(number)") }
    }
    try connection.run("PRAGMA locking_mode=NORMAL")
    #expect(try connection.value("SELECT count(*) FROM t") == "40")
    try fixture.check("a.db", "the end of the exclusive lock")
    let other = try fixture.connect("a.db")
    try other.run("INSERT INTO t VALUES (41)")
    try fixture.check("a.db", "another client")
    #expect(try other.value("PRAGMA integrity_check") == "ok")
  }

  @Test("A snapshot is read while the log is started over again and again")
  func snapshotWhileStartedOver() throws {
    let (fixture, connection) = try prepared()
    try connection.run("PRAGMA wal_autocheckpoint=5; INSERT INTO t SELECT zeroblob(3000) FROM t")
    for number in 1...60 { try connection.run("INSERT INTO t VALUES (zeroblob(\(number * 50)))") }
    let path = fixture.path("copy.sqlite")
    let exporter = try DatabaseExporter("a.db", in: fixture.store, to: path)
    repeat {
      try connection.run("UPDATE t SET a = randomblob(200) WHERE rowid % 7 = 3")
    } while try exporter.step(maxBytes: 4096)
    let position = try exporter.finish()
    #expect(position == fixture.position("a.db"))
    try fixture.check("a.db", "the copy")
  }

  @Test("Another file comes to stand in the place of the log")
  func replacedLog() throws {
    let (fixture, connection) = try prepared()
    connection.close()
    // The log of a moment before, put where the closed one was.
    let first = try fixture.connect("a.db")
    try first.run("INSERT INTO t VALUES (2)")
    try completing {
      fixture.store.rename(
        "a.db-wal",
        to: "aside",
        noReplace: false,
        exchange: false,
        done: $0
      )
    }
    try completing {
      fixture.store.rename("aside", to: "a.db-wal", noReplace: false, exchange: false, done: $0)
    }
    try first.run("INSERT INTO t VALUES (3)")
    try fixture.check("a.db", "renamed to and fro")
    first.close()
    let second = try fixture.connect("a.db")
    try second.run("INSERT INTO t VALUES (4)")
    try fixture.check("a.db", "a new log")
    #expect(try second.value("SELECT group_concat(a) FROM t") == "1,2,3,4")
  }

  @Test("A start meets a log that cannot be that of its database")
  func impossibleLog() throws {
    let (fixture, connection) = try prepared(boot: "one")
    try connection.run("INSERT INTO t VALUES (2)")
    let left = try TestDirectory.copy(of: fixture.directory.path)
    let path = left.path + "/files/a.db-wal"
    let file = try SystemDisk().open(path, [.write])
    let database = try #require(fixture.store.database("a.db"))
    let (header, end, sum) = database.state.withLock {
      ($0.wal.header, $0.wal.captured, $0.wal.lastSum)
    }
    let wal = try #require(header)
    // A valid frame that makes three billion pages out of two.
    let content = [UInt8](repeating: 7, count: wal.pageSize.bytes)
    var frame = [UInt8](repeating: 0, count: WALFrame.headerBytes)
    _ = frame.withUnsafeMutableBytes { head in
      content.withUnsafeBytes { page in
        WALFrame.store(
          page: 2,
          commit: 3_000_000_000,
          after: sum,
          in: wal,
          content: page,
          to: head
        )
      }
    }
    try file.writeAll(frame + content, at: end)
    let again = try start(left, boot: "one")
    #expect(try again.connect("a.db").value("SELECT group_concat(a) FROM t") == "1,2")
    try again.check("a.db", "the start")
  }

  @Test("Whoever keeps the database starts the log over with what was never seen")
  func keptAndStartedOver() throws {
    let (fixture, connection) = try prepared()
    try connection.run(
      "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 400) SELECT hex(zeroblob(100)) FROM n"
    )
    try connection.run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF")
    for number in 1...40 {
      try connection.run("UPDATE t SET a = 'x' || \(number) WHERE rowid = \(number * 9)")
    }
    try connection.run("PRAGMA wal_checkpoint; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
    try fixture.store.maintain()
    connection.close()
    let other = try fixture.connect("a.db")
    #expect(try other.value("SELECT count(*) FROM t WHERE a LIKE 'x%'") == "40")
    try fixture.check("a.db", "the end of the exclusive lock")
  }

  @Test("A commit that failed is not taken for one later")
  func failedCommit() throws {
    let disk = FaultyDisk()
    let (fixture, connection) = try prepared(disk)
    try connection.run("PRAGMA synchronous=FULL")
    let before = fixture.position("a.db")
    disk.fail([.write], at: 1, sticky: true, path: "/log/", code: .full)
    #expect(throws: (any Error).self) { try connection.run("INSERT INTO t VALUES (2)") }
    disk.heal()
    // SQLite has taken it back, but in the file it is a valid chain.
    try connection.run("PRAGMA wal_checkpoint")
    #expect(fixture.position("a.db") == before)
    try connection.run("INSERT INTO t VALUES (3)")
    try fixture.check("a.db", "another commit")
    #expect(try connection.value("SELECT group_concat(a) FROM t") == "1,3")
  }

  @Test("A commit that cannot be taken up does not keep the node from starting")
  func startWithoutRoom() throws {
    let (fixture, connection) = try prepared(boot: "one")
    let left = try copy(of: fixture) { try connection.run("INSERT INTO t VALUES (2)") }
    // The first writes to the log are the node's own, without which it does not start; room that is made
    // ahead of entries comes at any time, and may fail.
    var poor: StoreFixture?
    for write in 1...4 where poor == nil {
      let disk = FaultyDisk()
      disk.fail([.write], at: write, sticky: true, path: "/log/", code: .full)
      poor = try? start(try TestDirectory.copy(of: left.path), disk: disk, boot: "one")
    }
    #expect(try #require(poor).store.database("a.db")?.published.failed != nil)
    let again = try start(left, boot: "one")
    #expect(try again.connect("a.db").value("SELECT group_concat(a) FROM t") == "1,2")
  }

  @Test("What is known of the machine's start is forgotten by a start that does not ask for it")
  func bootIsForgotten() throws {
    let (fixture, connection) = try prepared(boot: "one")
    try connection.run("INSERT INTO t VALUES (2)")
    let left = try TestDirectory.copy(of: fixture.directory.path)
    _ = try StoreFixture(left, role: .replica)
    #expect(try SystemDisk().information(left.path + "/state/boot") == nil)
  }
}
