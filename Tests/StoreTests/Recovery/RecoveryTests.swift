import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// What a start finds after the process was killed at any moment, or ended well.
@Suite(.timeLimit(.minutes(15)))
struct RecoveryTests {
  /// Opens a copy of a node's directory as it is now and compares it with its log.
  private func expectCommitted(
    _ fixture: StoreFixture,
    _ what: String,
    role: Store.Role = .primary
  ) throws -> StoreFixture {
    let directory = try TestDirectory.copy(of: fixture.directory.path)
    let logged = fixture.store.log.last
    let again = try StoreFixture(directory, role: role)
    #expect(again.store.log.last.index >= logged.index, "\(what)")
    try again.replay.advance(again.store.log)
    for (name, image) in again.replay.images {
      #expect(again.position(name) == image.position, "\(what): \(name)")
      let here = try bytes(ofFile: again.path(name))
      guard here == image.bytes else {
        throw LogReplay.Mismatch(description: "\(what): \(name) is not what the log says")
      }
      #expect(again.store.database(name)?.published.failed == nil)
      if !here.isEmpty {
        let connection = try again.connect(name)
        #expect(try connection.value("PRAGMA integrity_check") == "ok", "\(what)")
      }
    }
    #expect(Set(again.store.databases().map(\.name)) == Set(again.replay.images.keys))
    return again
  }

  @Test(arguments: CommitCaptureTests.Mode.allCases, 1...2)
  func killedBetweenTransactions(_ mode: CommitCaptureTests.Mode, seed: Int) throws {
    var random = SeededRandom(UInt64(seed))
    let fixture = try StoreFixture()
    var workload = Workload(seed: UInt64(seed), style: .mixed, rollback: mode != .off)
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA page_size=1024; PRAGMA journal_mode=\(mode)")
    for round in 0..<30 {
      let sql = workload.next()
      try connection.run(sql)
      if random.below(4) == 0 { try fixture.store.maintain(everything: random.below(2) == 0) }
      guard round % 3 == 2 else { continue }
      let again = try expectCommitted(fixture, "\(mode), seed \(seed), round \(round)")
      let goesOn = try again.connect("a.db")
      try goesOn.run("CREATE TABLE IF NOT EXISTS more(x); INSERT INTO more VALUES (1)")
      try again.check("a.db", "the first transaction after a crash")
    }
  }

  /// Killed while a transaction has spilled and is not committed: with a hot journal, or frames
  /// without a commit.
  @Test(arguments: ["wal", "delete", "truncate", "persist"])
  func killedInATransaction(mode: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); CREATE TABLE t(a); "
        + "PRAGMA cache_size=2"
    )
    for round in 0..<12 {
      try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(round * 200))))")
      if round % 3 == 0 { try fixture.store.maintain() }
      try connection.run("BEGIN; UPDATE t SET a = a || 'x'; INSERT INTO t VALUES (zeroblob(9000))")
      let again = try expectCommitted(fixture, "\(mode), round \(round)")
      #expect(try again.connect("a.db").number("SELECT count(*) FROM t") == 2 * round + 1)
      try connection.run(round % 2 == 0 ? "ROLLBACK; INSERT INTO t VALUES (1)" : "COMMIT")
    }
  }

  /// Killed at each operation on the disk that the store does: what had been acknowledged is there.
  @Test(arguments: ["wal", "delete", "truncate", "persist"])
  func killedAtAnyStep(mode: String) throws {
    var done = false
    for step in 1...400 where !done {
      let disk = FaultyDisk()
      let fixture = try StoreFixture(disk: disk)
      disk.fail(at: step, sticky: true, torn: step % 2 == 0)
      var acknowledged = 0
      do {
        let connection = try fixture.connect("a.db")
        try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(n, a)")
        for n in 1...6 {
          try connection.run("INSERT INTO t VALUES (\(n), zeroblob(\(n % 3 * 3000)))")
          acknowledged = n
          if n % 2 == 0 { try fixture.store.maintain() }
        }
        connection.close()
        try fixture.store.shutDown()
      } catch {}
      done = disk.failures.isEmpty
      disk.heal()
      let again = try expectCommitted(fixture, "\(mode), step \(step)")
      guard acknowledged > 0 else { continue }
      let found = try again.connect("a.db").number("SELECT max(n) FROM t")
      #expect(found >= acknowledged, "\(mode), step \(step)")
    }
    #expect(done)
  }

  /// One operation fails and the process goes on: SQLite gets an error or the store goes on without
  /// it; what is read in between is whole, and after the next start everything acknowledged is there.
  @Test(arguments: ["wal", "delete", "truncate", "persist"])
  func oneFailure(mode: String) throws {
    var done = false
    for step in 1...400 where !done {
      let disk = FaultyDisk()
      let fixture = try StoreFixture(disk: disk)
      disk.fail(at: step, torn: step % 2 == 0)
      var acknowledged: Set<Int> = []
      var connection: Connection?
      for n in 1...8 {
        do {
          let open = try connection ?? fixture.connect("a.db")
          connection = open
          open.busyTimeout(100)
          if !open.isAutocommit { try open.run("ROLLBACK") }
          try open.run(
            "PRAGMA journal_mode=\(mode); CREATE TABLE IF NOT EXISTS t(n UNIQUE, a); "
              + "INSERT OR REPLACE INTO t VALUES (\(n), zeroblob(\(n % 3 * 3000)))"
          )
          acknowledged.insert(n)
          #expect(try open.value("PRAGMA integrity_check") == "ok", "\(mode), step \(step)")
        } catch {
          connection?.close()
          connection = nil
        }
        if n % 3 == 0 { _ = try? fixture.store.maintain() }
      }
      connection?.close()
      let failures = disk.failures
      done = failures.isEmpty
      disk.heal()
      let what = "\(mode), step \(step), \(failures)"
      #expect(!done || acknowledged.count == 8, "\(what)")
      let again = try expectCommitted(fixture, what)
      guard !acknowledged.isEmpty else { continue }
      let found = try again.connect("a.db").run("SELECT n FROM t").compactMap { Int($0[0]) }
      #expect(acknowledged.isSubset(of: found), "\(what)")
    }
    #expect(done)
  }

  /// The same on the other side: while a replica applies, checkpoints and writes its state.
  @Test(arguments: ["wal", "delete"]) func replicaKilledAtAnyStep(mode: String) throws {
    let source = try StoreFixture()
    let connection = try source.connect("a.db")
    try connection.run("PRAGMA page_size=512; PRAGMA journal_mode=\(mode); CREATE TABLE t(n, a)")
    for n in 1...6 {
      try connection.run("INSERT INTO t VALUES (\(n), zeroblob(\(n % 3 * 3000)))")
    }
    let batches = try (1...source.store.log.last.index.rawValue).map {
      try source.store.read(from: LogIndex($0), maxBytes: 1)
    }
    var done = false
    for step in 1...400 where !done {
      let disk = FaultyDisk()
      let fixture = try StoreFixture(disk: disk, role: .replica)
      let engine = try ReplicaEngine(store: fixture.store)
      disk.fail(at: step, sticky: true, torn: step % 2 == 0)
      var sent = LogIndex.zero
      do {
        for (number, batch) in batches.enumerated() {
          try engine.append(batch)
          sent = batch.last
          _ = eventually(1) {
            engine.progress().applied == engine.progress().received
              || engine.progress().repairing > 0
          }
          if number % 3 == 2 { try fixture.store.maintain() }
        }
      } catch {}
      done = disk.failures.isEmpty
      _ = eventually { engine.progress().applied == engine.progress().received || !done }
      disk.heal()
      let directory = try TestDirectory.copy(of: fixture.directory.path)
      let again = try StoreFixture(directory, role: .replica)
      let follower = try ReplicaEngine(store: again.store)
      #expect(again.store.log.last.index >= sent, "\(mode), step \(step)")
      try again.replay.advance(again.store.log)
      guard follower.databasesToRepair().isEmpty, let image = again.replay.images["a.db"] else {
        continue
      }
      #expect(again.position("a.db") == image.position, "\(mode), step \(step)")
      #expect(
        try CommittedImage(path: again.path("a.db")).bytes == image.bytes,
        "\(mode), step \(step)"
      )
    }
    #expect(done)
  }

  /// A start on a disk that fails, again and again: in the end everything is there.
  @Test(arguments: ["wal", "delete"]) func recoveryIsInterrupted(mode: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a); PRAGMA cache_size=2")
    for n in 0..<10 { try connection.run("INSERT INTO t VALUES (zeroblob(\(n * 900)))") }
    try connection.run("BEGIN; UPDATE t SET a = zeroblob(5000)")
    let directory = try TestDirectory.copy(of: fixture.directory.path)
    var step = 1
    while true {
      let disk = FaultyDisk()
      disk.fail(at: step, sticky: true, torn: step % 2 == 0)
      do {
        _ = try StoreFixture.open(directory, disk, TestClock())
        break
      } catch { step += 1 }
      try #require(step < 200)
    }
    #expect(step > 5)
    let again = try StoreFixture(directory)
    try again.check("a.db", "the last start")
    #expect(try again.connect("a.db").number("SELECT count(*) FROM t") == 10)
  }

  /// After a clean end nothing is redone and no database is read.
  @Test(arguments: ["wal", "delete"]) func cleanEnd(mode: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    for n in 0..<10 { try connection.run("INSERT INTO t VALUES (zeroblob(\(n * 900)))") }
    connection.close()
    let position = fixture.position("a.db")
    try fixture.store.shutDown()
    let names = try FileManager.default.contentsOfDirectory(atPath: fixture.store.tree)
    #expect(names == ["a.db"])
    let disk = FaultyDisk()
    disk.fail([.write, .truncate, .remove, .rename], at: 0)
    let again = try StoreFixture.open(fixture.directory, disk, TestClock())
    #expect(disk.counted <= 1, "only the log's end may be set")
    #expect(again.database("a.db")?.published.position == position)
    let modified = try SystemDisk().information(fixture.path("a.db"))?.modified
    #expect(try SystemDisk().information(again.tree + "/a.db")?.modified == modified)
  }

  /// A database whose state file is damaged is read anew.
  @Test(arguments: ["db", "sums", "redo"]) func damagedState(suffix: String) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=DELETE; CREATE TABLE t(a)")
    for n in 0..<10 { try connection.run("INSERT INTO t VALUES (zeroblob(\(n * 900)))") }
    try fixture.store.maintain()
    try connection.run("INSERT INTO t VALUES (1)")
    connection.close()
    let state = fixture.directory.path + "/state"
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: state).first { $0.hasSuffix(suffix) }
    )
    let whole = try bytes(ofFile: state + "/" + name)
    for at in stride(from: 0, to: whole.count, by: max(1, whole.count / 40)) {
      let directory = try TestDirectory.copy(of: fixture.directory.path)
      var damaged = whole
      damaged[at] ^= 0x40
      if at % 3 == 2 { damaged = Array(whole.prefix(at)) }
      try write(damaged, toFile: directory.path + "/state/" + name)
      let again = try StoreFixture(directory)
      #expect(
        try bytes(ofFile: again.path("a.db")) == bytes(ofFile: fixture.path("a.db")),
        "byte \(at) of \(name)"
      )
      let reader = try again.connect("a.db")
      #expect(try reader.number("SELECT count(*) FROM t") == 11, "byte \(at) of \(name)")
      try reader.run("INSERT INTO t VALUES (2)")
      let database = try #require(again.store.database("a.db"))
      let size = try #require(PageSize(bytes: 4096))
      #expect(
        LogReplay.checksum(try bytes(ofFile: again.path("a.db")), size)
          == database.published.position.checksum,
        "byte \(at) of \(name)"
      )
    }
  }

  /// Bits of the main file changed while nobody looked: the store must not pretend.
  @Test func fileIsGone() throws {
    let fixture = try StoreFixture()
    for name in ["a.db", "b.db"] {
      let connection = try fixture.connect(name)
      try connection.run("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
      connection.close()
    }
    try fixture.store.shutDown()
    try FileManager.default.removeItem(atPath: fixture.path("a.db"))
    try fixture.restart()
    #expect(throws: StoreError.self) {
      try fixture.store.open(FileName("a.db"), [.write, .create])
    }
    #expect(try fixture.connect("b.db").number("SELECT a FROM t") == 1)
    // A backup brings it back.
    let backup = fixture.directory.path + "/backup.db"
    let connection = try Connection(backup)
    try connection.run("CREATE TABLE t(a); INSERT INTO t VALUES (5)")
    connection.close()
    _ = try fixture.store.importDatabase("a.db", from: backup)
    #expect(try fixture.connect("a.db").number("SELECT a FROM t") == 5)
    // The clean end of a.db, then the import.
    try fixture.check("a.db", "import of a lost database")
  }

  /// Renames and drops, killed at each step.
  @Test(arguments: ["wal", "delete"]) func renamesAndDrops(mode: String) throws {
    var done = false
    for step in 1...400 where !done {
      let disk = FaultyDisk()
      let fixture = try StoreFixture(disk: disk)
      func create(_ name: String, _ rows: Int) throws {
        let connection = try fixture.connect(name)
        try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
        for row in 0..<rows { try connection.run("INSERT INTO t VALUES (zeroblob(\(row * 999)))") }
      }
      try create("a.db", 3)
      try fixture.store.maintain()
      disk.fail(at: step, sticky: true)
      do {
        try create("b.db", 2)
        try completing {
          fixture.store.rename(
            "a.db",
            to: "c.db",
            noReplace: false,
            exchange: false,
            done: $0
          )
        }
        try create("a.db", 4)
        try completing {
          fixture.store.rename("a.db", to: "b.db", noReplace: false, exchange: false, done: $0)
        }
        try completing { fixture.store.remove(FileName("c.db"), done: $0) }
        try create("c.db", 1)
      } catch {}
      let failures = disk.failures
      done = failures.isEmpty
      disk.heal()
      _ = try expectCommitted(fixture, "\(mode), step \(step), \(failures.first ?? "")")
    }
    #expect(done)
  }
}
