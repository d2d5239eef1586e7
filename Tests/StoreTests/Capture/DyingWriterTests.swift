import LTX
import Synchronization
import Testing

@testable import Store

/// Writers that end in the middle, and writes that the store must refuse.
@Suite(.timeLimit(.minutes(15)))
struct DyingWriterTests {
  private func prepared(_ mode: String = "wal") throws -> (StoreFixture, Connection) {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    try connection.run("INSERT INTO t VALUES (1)")
    return (fixture, connection)
  }

  /// The frames that a writer would add to the log now, as raw bytes.
  private func frames(
    _ fixture: StoreFixture,
    _ pages: [(page: UInt32, commit: UInt32, bytes: [UInt8])]
  ) throws -> (offset: Int64, frames: [[UInt8]]) {
    let database = try #require(fixture.store.database("a.db"))
    let (header, captured, sum) = database.state.withLock {
      ($0.wal.header, $0.wal.captured, $0.wal.lastSum)
    }
    let wal = try #require(header)
    var running = sum
    var result: [[UInt8]] = []
    for page in pages {
      var frame = [UInt8](repeating: 0, count: 24)
      frame.withUnsafeMutableBytes { head in
        running = page.bytes.withUnsafeBytes { content in
          WALFrame.store(
            page: page.page,
            commit: page.commit,
            after: running,
            in: wal,
            content: content,
            to: head
          )
        }
      }
      result.append(frame + page.bytes)
    }
    return (captured, result)
  }

  private func send(_ bytes: [UInt8], at offset: Int64, _ fixture: StoreFixture) throws {
    let file = try fixture.store.open(FileName("a.db-wal"), [.write])
    try bytes.withUnsafeBytes { raw in
      try completing { fixture.store.write(file, at: offset, raw, done: $0) }
    }
  }

  /// The kernel gives up a dead process's WRITE lock.
  private func takeAndLoseWriteLock(_ fixture: StoreFixture) throws {
    let locks = fixture.store.locks(of: FileName("a.db-shm"))
    let owner = LockOwner.kernel(4711)
    let granted = Mutex(false)
    locks.set(LockRequest(owner: owner, kind: .write, range: WALLock.write), wait: false) {
      let isGranted = $0 == .granted
      granted.withLock { $0 = isGranted }
    }
    #expect(granted.withLock { $0 })
    try completing { done in locks.releaseAll(owner: owner) { done(nil) } }
  }

  /// Page 2 of the database with another value in its only row.
  private func changedPage(_ fixture: StoreFixture) throws -> [UInt8] {
    let other = try StoreFixture()
    let connection = try other.connect("a.db")
    try connection.run("PRAGMA journal_mode=wal; CREATE TABLE t(a)")
    try connection.run("INSERT INTO t VALUES (77)")
    return Array(try CommittedImage(path: other.path("a.db")).bytes[4096..<8192])
  }

  @Test func commitWithoutItsIndex() throws {
    let (fixture, connection) = try prepared()
    let before = fixture.position("a.db")
    let (offset, frames) = try frames(fixture, [(2, 2, try changedPage(fixture))])
    try send(Array(frames[0].prefix(24)), at: offset, fixture)
    #expect(fixture.position("a.db") == before)
    try send(Array(frames[0].dropFirst(24)), at: offset + 24, fixture)
    #expect(fixture.position("a.db").txid == before.txid.next)
    try takeAndLoseWriteLock(fixture)
    #expect(try connection.number("SELECT a FROM t") == 77)
    try connection.run("INSERT INTO t VALUES (2)")
    try fixture.check("a.db", "the next transaction")
    #expect(fixture.vfs.counts.withLock { $0.recoveries } <= 1)
    #expect(try connection.value("PRAGMA integrity_check") == "ok")
  }

  /// The page was there already, from an earlier generation of the log; the writer died before it
  /// wrote it once more. SQLite's recovery would see a commit.
  @Test func commitOfAPageThatWasThere() throws {
    let (fixture, connection) = try prepared()
    let (offset, frames) = try frames(fixture, [(2, 2, try changedPage(fixture))])
    let disk = SystemDisk()
    try disk.open(fixture.path("a.db-wal"), [.write])
      .writeAll(Array(frames[0].dropFirst(24)), at: offset + 24)
    let before = fixture.position("a.db")
    try send(Array(frames[0].prefix(24)), at: offset, fixture)
    try takeAndLoseWriteLock(fixture)
    #expect(fixture.position("a.db").txid == before.txid.next)
    #expect(try connection.number("SELECT a FROM t") == 77)
    try fixture.check("a.db", "the dead writer's transaction")
    try connection.run("INSERT INTO t VALUES (2)")
    try fixture.check("a.db", "the next transaction")
  }

  /// As above, but by a client that had the database to itself and took no lock for its log.
  @Test func commitOfAnExclusiveClient() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=wal; CREATE TABLE t(a)")
    try connection.run("INSERT INTO t VALUES (1)")
    let (offset, frames) = try frames(fixture, [(2, 2, try changedPage(fixture))])
    try SystemDisk().open(fixture.path("a.db-wal"), [.write])
      .writeAll(Array(frames[0].dropFirst(24)), at: offset + 24)
    let before = fixture.position("a.db")
    try send(Array(frames[0].prefix(24)), at: offset, fixture)
    #expect(fixture.position("a.db") == before)
    let locks = fixture.store.locks(of: FileName("a.db"))
    let writer = try #require(locks.held.first { $0.kind == .write }?.owner)
    try completing { done in locks.releaseAll(owner: writer) { done(nil) } }
    #expect(fixture.position("a.db").txid == before.txid.next)
    try fixture.check("a.db", "the dead client's transaction")
    connection.close()
  }

  /// It checkpoints when it likes: nothing would tell it of a checkpoint by somebody else.
  @Test func logOfAnExclusiveClient() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); "
        + "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (zeroblob(8000000))"
    )
    let size = try SystemDisk().information(fixture.path("a.db"))?.size
    try fixture.store.maintain()
    #expect(try SystemDisk().information(fixture.path("a.db"))?.size == size)
    try connection.run("PRAGMA locking_mode=NORMAL; SELECT count(*) FROM t")
    try fixture.store.maintain()
    #expect(try SystemDisk().information(fixture.path("a.db"))?.size ?? 0 > 8_000_000)
    try fixture.check("a.db", "checkpointed")
  }

  @Test(arguments: 1...3) func deathInTheMiddle(parts: Int) throws {
    let (fixture, connection) = try prepared()
    let page = try changedPage(fixture)
    let (offset, frames) = try frames(fixture, [(2, 0, page), (2, 0, page), (2, 2, page)])
    let before = fixture.position("a.db")
    var bytes = frames.prefix(parts).flatMap { $0 }
    if parts == 3 { bytes.removeLast(100) }
    try send(bytes, at: offset, fixture)
    try takeAndLoseWriteLock(fixture)
    #expect(fixture.position("a.db") == before)
    #expect(try connection.number("SELECT a FROM t") == 1)
    for round in 0..<5 {
      try connection.run("INSERT INTO t VALUES (\(round))")
      try fixture.check("a.db", "transaction \(round) afterwards")
    }
  }

  /// Every n-th write of the log fails: SQLite reports it, rolls back and goes on; what it
  /// acknowledged and nothing else is in the database.
  @Test(arguments: ["wal", "delete", "truncate", "persist"], [2, 3, 5])
  func refusedCommits(mode: String, every: Int) throws {
    let disk = FaultyDisk()
    let fixture = try StoreFixture(disk: disk)
    // Without zeros written ahead, whose failing nobody would notice: each failure hits an entry.
    fixture.store.log.close()
    var connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA journal_mode=\(mode); PRAGMA cache_size=4; CREATE TABLE t(n UNIQUE, a)"
    )
    var acknowledged: [Int] = []
    var refused = 0
    for n in 0..<60 {
      let size = n % 4 == 0 ? 30_000 : 10
      let before = fixture.position("a.db").txid.rawValue
      disk.fail([.write], at: n % every == 0 ? 1 : 0, torn: n % 2 == 0, path: "/log/")
      do {
        try connection.run(
          "BEGIN; INSERT INTO t VALUES (\(n), hex(zeroblob(\(size)))); "
            + "UPDATE t SET a = a || 'x' WHERE n = \(max(0, n - 3)); COMMIT"
        )
        acknowledged.append(n)
      } catch {
        refused += 1
        if !connection.isAutocommit { try connection.run("ROLLBACK") }
      }
      disk.heal()
      // SQLite may leave it to the next reader to roll back.
      let there = try connection.run("SELECT n FROM t ORDER BY n").compactMap { Int($0[0]) }
      #expect(there == acknowledged, "\(mode) \(every): transaction \(n)")
      try fixture.check("a.db", "\(mode) \(every): transaction \(n)")
      let logged = fixture.position("a.db").txid.rawValue - before
      // Undoing may leave free pages with other bytes than before, which are logged as well.
      let isRight = logged == (acknowledged.last == n ? 1 : 0) || (mode != "wal" && logged == 1)
      #expect(isRight, "\(mode) \(every): transaction \(n)")
      if n % 20 == 19 {
        connection.close()
        connection = try fixture.connect("a.db")
      }
    }
    #expect(refused >= 60 / every)
    #expect(try connection.value("PRAGMA integrity_check") == "ok")
  }

  /// Without a journal the store learns of a transaction when SQLite has reported it. What cannot be
  /// logged then is logged with the next one.
  @Test(arguments: ["memory", "off"]) func refusedWithoutAJournal(mode: String) throws {
    let disk = FaultyDisk()
    let fixture = try StoreFixture(disk: disk)
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    for n in 0..<12 {
      disk.fail([.write], at: n % 3 == 0 ? 1 : 0, path: "/log/")
      try connection.run("INSERT INTO t VALUES (\(n))")
      disk.heal()
      if n % 3 != 0 { try fixture.check("a.db", "transaction \(n)") }
    }
    #expect(try connection.number("SELECT count(*) FROM t") == 12)
  }

  /// A writer dies with a hot journal, its pages half in the main file: nothing of it is logged.
  @Test(arguments: ["delete", "truncate", "persist"]) func deathWithAHotJournal(mode: String) throws
  {
    let (fixture, connection) = try prepared(mode)
    for n in 0..<30 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(n * 90))))") }
    try fixture.check("a.db", "before")
    let before = fixture.position("a.db")
    try connection.run("PRAGMA cache_size=2; BEGIN; UPDATE t SET a = zeroblob(3000)")
    let locks = fixture.store.locks(of: FileName("a.db"))
    let writer = try #require(locks.held.first { $0.kind == .write }?.owner)
    // The kernel gives up the locks of a dead process.
    try completing { done in locks.releaseAll(owner: writer) { done(nil) } }
    #expect(fixture.position("a.db") == before)
    let crashed = try StoreFixture(TestDirectory.copy(of: fixture.directory.path))
    #expect(crashed.position("a.db") == before)
    try crashed.check("a.db", "a start after it")
    try connection.run("ROLLBACK")
    try fixture.check("a.db", "the next connection's rollback")
    try connection.run("INSERT INTO t VALUES (2)")
    try fixture.check("a.db", "the next transaction")
  }

  /// A transaction that was never synced can have written over leaves of the freelist, which no
  /// journal can bring back: what the file then holds must be what the log says.
  @Test(arguments: ["delete", "persist"], [false, true])
  func deathAfterWritingFreePages(mode: String, hot: Bool) throws {
    let (fixture, connection) = try prepared(mode)
    try connection.run("CREATE TABLE big(a); CREATE TABLE other(a)")
    for _ in 0..<40 { try connection.run("INSERT INTO big VALUES (hex(zeroblob(1900)))") }
    try connection.run("INSERT INTO other VALUES (1); DROP TABLE big")
    try fixture.store.maintain()
    try fixture.check("a.db", "before")
    let before = fixture.position("a.db")
    try connection.run("PRAGMA cache_size=3; BEGIN")
    if hot { try connection.run("UPDATE t SET a = 5; UPDATE other SET a = 6") }
    for n in 0..<30 {
      try connection.run("INSERT INTO \(hot ? "t" : "other") VALUES (hex(zeroblob(\(1800 + n))))")
    }
    let dirty = try bytes(ofFile: fixture.path("a.db"))
    #expect(dirty != fixture.replay.images["a.db"]?.bytes)
    // The node's process dies with it.
    let crashed = try StoreFixture(TestDirectory.copy(of: fixture.directory.path))
    try crashed.check("a.db", "a start after it")
    #expect(crashed.position("a.db").txid <= TXID(before.txid.rawValue + 1))
    #expect(try crashed.connect("a.db").number("SELECT a FROM t") == 1)
    let snapshot = try crashed.store.openSnapshot(of: "a.db", checksums: [])
    while try snapshot.next(maxBytes: 1 << 16) != nil {}
    // It may also come back as a replica.
    let replica = try StoreFixture(
      TestDirectory.copy(of: fixture.directory.path),
      role: .replica
    )
    #expect(try ReplicaEngine(store: replica.store).databasesToRepair() == ["a.db"])
    #expect(throws: StoreError.self) { try replica.store.open(FileName("a.db"), []) }
    // Only the application dies.
    let locks = fixture.store.locks(of: FileName("a.db"))
    if let writer = locks.held.first(where: { $0.kind == .write })?.owner {
      try completing { done in locks.releaseAll(owner: writer) { done(nil) } }
    }
    try connection.run("ROLLBACK")
    try fixture.check("a.db", "after the application's death")
  }
}
