import Foundation
import LTX
import Testing

@testable import Store

/// Replicas that need more than the log: late ones, diverged ones, interrupted ones.
@Suite(.timeLimit(.minutes(15)))
struct SnapshotTests {
  /// A primary that has gone on for a while, and whose replica starts at its present end.
  private func behind(
    _ mode: String = "wal",
    seed: UInt64,
    rows: Int = 60
  ) throws -> (PairFixture, Connection) {
    let pair = try PairFixture(seed: seed)
    let writer = try pair.primary.connect("a.db")
    try writer.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); "
        + "CREATE TABLE t(id INTEGER PRIMARY KEY, a)"
    )
    for _ in 0..<rows { try insert(writer, pair) }
    return (pair, writer)
  }

  private func insert(_ writer: Connection, _ pair: PairFixture) throws {
    try writer.run("INSERT INTO t(a) VALUES (hex(zeroblob(\(pair.random.below(900)))))")
  }

  private func startOver(_ pair: PairFixture) throws {
    let store = pair.primary.store
    try pair.engine.reset(to: store.log.last, databases: store.databases())
  }

  @Test(arguments: ["wal", "delete", "memory"], 1...3)
  func whileWritingGoesOn(mode: String, seed: Int) throws {
    let (pair, writer) = try behind(mode, seed: UInt64(seed))
    try startOver(pair)
    try pair.repair(maxBytes: 3000) {
      switch pair.random.below(5) {
      case 0: try writer.run("DELETE FROM t WHERE id % 3 = \(pair.random.below(3))")
      case 1: try writer.run("VACUUM")
      case 2: try pair.ship()
      default: try insert(writer, pair)
      }
    }
    try pair.follow("snapshot under writes")
    #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
    for _ in 0..<20 {
      try insert(writer, pair)
      try pair.follow("after a snapshot")
    }
    #expect(pair.recoveries == 0)
  }

  /// Pages an unfinished transaction has written over are not sent.
  @Test func whileATransactionSpills() throws {
    let (pair, writer) = try behind("delete", seed: 9)
    try startOver(pair)
    let source = try pair.primary.store.openSnapshot(of: "a.db", checksums: [])
    try pair.engine.beginSnapshot(source.begin)
    try writer.run("PRAGMA cache_size=2; BEGIN; UPDATE t SET a = a || 'x'")
    while let pages = try source.next(maxBytes: 8 << 10) {
      try pair.engine.addSnapshot("a.db", pages)
      if !writer.isAutocommit { try writer.run("COMMIT") }
    }
    let end = try source.end()
    try pair.ship(through: end.index)
    try pair.engine.endSnapshot("a.db", end)
    try pair.follow()
  }

  /// A transaction that was about to be applied when the repair began, and whose pages later became
  /// again what they were: nothing of it may get into the file behind the checksums that were told.
  @Test func nothingIsAppliedOnceARepairHasBegun() throws {
    let (pair, writer) = try behind("delete", seed: 11, rows: 3)
    try pair.follow()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN; SELECT * FROM t")
    try writer.run("UPDATE t SET a = 'x' || substr(a, 2) WHERE id = 2")
    try writer.run("UPDATE t SET a = '0' || substr(a, 2) WHERE id = 2")
    // Waits for the reader.
    try pair.ship()
    try pair.engine.markForRepair(["a.db"])
    let told = try pair.engine.snapshotChecksums(of: "a.db")
    try reader.run("COMMIT")
    try pair.engine.applier("a.db").alone { () throws(StoreError) in }
    let source = try pair.primary.store.openSnapshot(of: "a.db", checksums: told)
    try pair.engine.beginSnapshot(source.begin)
    while let pages = try source.next(maxBytes: 8 << 10) {
      try pair.engine.addSnapshot("a.db", pages)
    }
    try pair.engine.endSnapshot("a.db", try source.end())
    try pair.follow()
  }

  /// The connection breaks, and the replica's process too: what has arrived is not sent again.
  @Test(arguments: [false, true]) func resumes(restart: Bool) throws {
    let (pair, writer) = try behind(seed: 3, rows: 200)
    try startOver(pair)
    let all = try pair.primary.store.openSnapshot(of: "a.db", checksums: []).begin.differing
    let first = try pair.fetch("a.db", maxBytes: 8 << 10, limit: 60)
    if restart { try pair.restartReplica() }
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    try insert(writer, pair)
    let rest = try pair.fetch("a.db", maxBytes: 8 << 10)
    #expect(first >= 60 && rest <= Int(all) - first + 8)
    try pair.follow("resumed")
    let staging = pair.replica.directory.path + "/staging"
    #expect(try FileManager.default.contentsOfDirectory(atPath: staging) == [])
  }

  /// Bytes that a crash of the machine left in the staging file mend themselves.
  @Test(arguments: 0...3) func damagedStaging(kind: Int) throws {
    let (pair, _) = try behind(seed: 3, rows: 100)
    try startOver(pair)
    try pair.fetch("a.db", maxBytes: 8 << 10, limit: 60)
    let staging = pair.replica.directory.path + "/staging"
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: staging).first)
    var content = try bytes(ofFile: staging + "/" + name)
    switch kind {
    case 0: content.replaceSubrange(20_000..<30_000, with: [UInt8](repeating: 0, count: 10_000))
    case 1: for at in stride(from: 4, to: 60_000, by: 1028) { content[at] ^= 0xff }
    case 2: content.removeLast(500)
    default: content[1] ^= 7
    }
    try write(content, toFile: staging + "/" + name)
    try pair.restartReplica()
    for _ in 0..<3 where !pair.engine.databasesToRepair().isEmpty { _ = try? pair.fetch("a.db") }
    try pair.follow("damaged staging")
  }

  /// A replica whose last entries the primary does not have.
  @Test(arguments: ["wal", "delete"], [false, true])
  func divergedTail(mode: String, restart: Bool) throws {
    let pair = try PairFixture(seed: 17)
    let writers = try ["a.db", "b.db"].map { try pair.primary.connect($0) }
    for writer in writers {
      try writer.run("PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
      for _ in 0..<40 { try writer.run("INSERT INTO t VALUES (hex(zeroblob(400)))") }
    }
    try pair.follow()
    try pair.replica.store.maintain()
    let common = pair.engine.logSummary().last.index
    // What the replica alone has: it was ahead of a primary that then lost its end.
    let other = try TestDirectory.copy(of: pair.primary.directory.path)
    let ahead = try StoreFixture(other)
    let stray = try ahead.connect("a.db")
    for n in 0..<30 { try stray.run("INSERT INTO t VALUES (\(n)); UPDATE t SET a = 'stray'") }
    let new = try ahead.connect("new.db")
    try new.run("CREATE TABLE only_here(a)")
    try pair.engine.append(
      try ahead.store.read(from: common.next, maxBytes: 1 << 20)
    )
    try pair.settle()
    #expect(pair.replica.position("a.db") == ahead.position("a.db"))
    try pair.replica.store.maintain()

    try pair.engine.truncate(after: common)
    #expect(pair.engine.logSummary().last.index == common)
    #expect(pair.engine.databasesToRepair() == ["a.db", "new.db"])
    if restart {
      try pair.restartReplica()
      #expect(pair.engine.databasesToRepair() == ["a.db", "new.db"])
    }
    for _ in 0..<3 { try writers[0].run("INSERT INTO t VALUES ('right')") }
    try pair.ship()
    let sent = try pair.fetch("a.db")
    #expect(sent > 0 && sent <= 45)
    try pair.follow("repaired")
    #expect(try pair.read("a.db").number("SELECT count(*) FROM t WHERE a = 'right'") == 3)
    #expect(try pair.read("a.db").number("SELECT count(*) FROM t WHERE a = 'stray'") == 0)
    let quarantine = try FileManager.default.contentsOfDirectory(
      atPath: pair.replica.directory.path + "/quarantine"
    )
    #expect(quarantine.contains { $0.contains("-log-") })
    #expect(quarantine.contains { $0.hasSuffix(".db") })
    // And after one more crash it is still so.
    try pair.restartReplica()
    try pair.compare("restarted after a repair")
    try writers[0].run("INSERT INTO t VALUES ('more')")
    try pair.follow("after the restart")
  }

  /// A repaired database of which a reader keeps an old snapshot, and then the process is killed
  /// before anything could be moved into the main file.
  @Test func crashAfterRepairUnderAReader() throws {
    let (pair, writer) = try behind(seed: 5)
    try pair.follow()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN")
    let seen = try reader.run("SELECT count(*), sum(length(a)) FROM t")
    for _ in 0..<40 { try insert(writer, pair) }
    try startOver(pair)
    try pair.repair()
    try pair.settle()
    try pair.compare("repaired under a reader")
    #expect(try reader.run("SELECT count(*), sum(length(a)) FROM t") == seen)
    try insert(writer, pair)
    try pair.ship()
    try pair.settle()
    reader.close()
    try pair.restartReplica()
    try pair.follow("killed after the repair")
    #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
  }

  /// Killed in the middle of a repair: the checksums of what is on the disk must be its own.
  @Test func crashDuringRepair() throws {
    let (pair, writer) = try behind(seed: 6)
    try pair.follow()
    try pair.replica.store.maintain()
    for _ in 0..<40 { try insert(writer, pair) }
    try pair.ship()
    try pair.settle()
    // These pages are in the write-ahead log alone, which a restart removes.
    let database = try #require(pair.replica.store.database("a.db"))
    try database.flush(
      log: pair.replica.store.log,
      disk: SystemDisk(),
      directory: pair.replica.directory.path + "/state"
    )
    try pair.engine.markForRepair(["a.db"])
    try pair.restartReplica()
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    try pair.follow("killed while it waited for repair")
    #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
  }

  @Test func resetSetsUnknownDatabasesAside() throws {
    let pair = try PairFixture()
    let writer = try pair.primary.connect("a.db")
    try writer.run("PRAGMA journal_mode=WAL; CREATE TABLE t(a)")
    let gone = try pair.primary.connect("gone.db")
    try gone.run("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES ('kept')")
    try pair.follow()
    gone.close()
    try completing { pair.primary.store.remove(FileName("gone.db"), done: $0) }
    try startOver(pair)
    try pair.follow("reset")
    #expect(!FileManager.default.fileExists(atPath: pair.replica.path("gone.db")))
    let quarantine = pair.replica.directory.path + "/quarantine"
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: quarantine).first {
        $0.hasSuffix(".db")
      }
    )
    let kept = try Connection(quarantine + "/" + name)
    #expect(try kept.value("SELECT a FROM t") == "kept")
  }
}
