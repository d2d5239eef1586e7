import LTX
import Synchronization
import Testing

@testable import Store

/// What the daemon does to a database by itself never makes an application's lock fail.
struct DaemonLocksTests {
  private let application = LockOwner.kernel(4711)

  /// Asks for a lock without waiting, in the middle of the daemon's work.
  private func outcome(
    _ kind: LockKind,
    _ range: LockRange,
    _ locks: FileLocks,
    on disk: FaultyDisk,
    at suffix: String,
    during work: () throws -> Void
  ) throws -> [LockOutcome?] {
    let request = LockRequest(owner: application, handle: 1, kind: kind, range: range)
    let outcomes = Mutex<[LockOutcome?]>([])
    disk.watcher.withLock {
      $0 = { operation, path in
        guard operation == .write, path.hasSuffix(suffix), outcomes.withLock({ $0.isEmpty })
        else { return }
        // Nothing is known while the daemon is at work.
        outcomes.withLock { $0.append(nil) }
        locks.set(request, wait: false) { outcome in outcomes.withLock { $0.append(outcome) } }
        if outcomes.withLock({ $0.count }) == 1 { outcomes.withLock { $0.append(nil) } }
      }
    }
    try work()
    disk.watcher.withLock { $0 = nil }
    return outcomes.withLock { $0 }
  }

  @Test("a checkpoint of the node's own", arguments: [WALLock.write, WALLock.checkpoint])
  func checkpoint(range: LockRange) throws {
    let disk = FaultyDisk()
    let fixture = try StoreFixture(disk: disk)
    let connection = try fixture.connect("a.db")
    try connection.run(
      """
      PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
      CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(600000))
      """
    )
    let database = try #require(fixture.store.database("a.db"))
    let seen = try outcome(.write, range, database.sharedMemoryLocks, on: disk, at: "/a.db") {
      try fixture.store.maintain()
    }
    #expect(seen == [nil, nil, .granted])
    #expect(database.state.withLock { $0.backfilled == $0.entry })
    database.sharedMemoryLocks.releaseAll(owner: application)
    try connection.run("INSERT INTO t VALUES (1)")
    connection.close()
  }

  /// Without it the next reader must lock a slot, set its mark and let go of it: two requests more.
  @Test("a read mark is at the end of the log after each commit, whoever reads")
  func readMark() throws {
    let fixture = try StoreFixture()
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (0)")
    let reader = try fixture.connect("a.db")
    let database = try #require(fixture.store.database("a.db"))
    for number in 1...12 {
      if number == 4 { try reader.run("BEGIN; SELECT a FROM t") }
      if number == 9 { try reader.run("COMMIT; PRAGMA wal_checkpoint") }
      let seen = number >= 4 && number < 9 ? "3" : "\(number - 1)"
      #expect(try reader.value("SELECT max(a) FROM t") == seen)
      try writer.run("INSERT INTO t VALUES (\(number))")
      let index = try #require(database.state.withLock { $0.index })
      let marks = (1...4).filter { slot in
        index.readMark(slot) == index.frames
          && !database.sharedMemoryLocks.isLocked(WALLock.read(slot))
      }
      #expect(!marks.isEmpty, "after commit \(number)")
    }
    reader.close()
    writer.close()
    try fixture.check("a.db")
  }
}
