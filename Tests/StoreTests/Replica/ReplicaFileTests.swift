import Foundation
import LTX
import Testing

@testable import Store

/// Drops, renames and failures on a replica.
@Suite(.timeLimit(.minutes(15)))
struct ReplicaFileTests {
  private func rename(_ source: String, _ target: String, _ fixture: StoreFixture) throws {
    try completing {
      fixture.store.rename(source, to: target, noReplace: false, exchange: false, done: $0)
    }
  }

  private func create(_ pair: PairFixture, _ name: String, _ mode: String, _ rows: Int) throws {
    let writer = try pair.primary.connect(name)
    try writer.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    for row in 0..<rows { try writer.run("INSERT INTO t VALUES (\(row))") }
  }

  @Test(arguments: ["wal", "delete"], [false, true])
  func dropsAndRenames(mode: String, inPieces: Bool) throws {
    let pair = try PairFixture(seed: 2)
    func step(_ what: String) throws { if inPieces { try pair.follow(what) } }
    for round in 0..<3 {
      try create(pair, "a.db", mode, 5)
      try step("create")
      try rename("a.db", "b.db", pair.primary)
      try step("rename")
      try create(pair, "a.db", mode, 3 + round)
      try step("create again")
      try rename("a.db", "b.db", pair.primary)
      try step("rename over")
      try create(pair, "a.db", mode, 2)
      try step("create once more")
      try completing { pair.primary.store.remove(FileName("a.db"), done: $0) }
      try step("drop")
      try create(pair, "a.db", mode, 4)
      try step("create after a drop")
      let writer = try pair.primary.connect("b.db")
      try writer.run("INSERT INTO t VALUES ('more')")
      writer.close()
      try pair.follow("round \(round)")
      #expect(try pair.read("b.db").number("SELECT count(*) FROM t") == 4 + round)
      try completing { pair.primary.store.remove(FileName("a.db"), done: $0) }
      try completing { pair.primary.store.remove(FileName("b.db"), done: $0) }
      try pair.follow("all gone")
      let left = try FileManager.default.contentsOfDirectory(atPath: pair.replica.store.tree)
      #expect(left == [])
    }
  }

  /// A snapshot that was begun after a drop must not be dropped by it.
  @Test(arguments: ["wal", "delete"]) func dropBeforeASnapshot(mode: String) throws {
    let pair = try PairFixture(seed: 2)
    try create(pair, "a.db", mode, 5)
    try create(pair, "b.db", mode, 5)
    try pair.follow()
    try pair.engine.markForRepair(["a.db", "b.db"])
    try completing { pair.primary.store.remove(FileName("a.db"), done: $0) }
    try create(pair, "a.db", mode, 9)
    try rename("b.db", "c.db", pair.primary)
    try create(pair, "b.db", mode, 7)
    try pair.follow("repaired to after the drop")
    #expect(try pair.read("a.db").number("SELECT count(*) FROM t") == 9)
    #expect(try pair.read("b.db").number("SELECT count(*) FROM t") == 7)
    #expect(try pair.read("c.db").number("SELECT count(*) FROM t") == 5)
  }

  /// A cut entry had renamed a database: both names are wrong now.
  @Test func cutRename() throws {
    let pair = try PairFixture(seed: 2)
    try create(pair, "a.db", "wal", 5)
    try pair.follow()
    let common = pair.engine.logSummary().last.index
    let ahead = try StoreFixture(TestDirectory.copy(of: pair.primary.directory.path))
    try rename("a.db", "b.db", ahead)
    try pair.engine.append(try ahead.store.read(from: common.next, maxBytes: 1 << 20))
    try pair.settle()
    #expect(pair.replica.store.databases().map(\.name) == ["b.db"])
    try pair.engine.truncate(after: common)
    try create(pair, "x.db", "wal", 1)
    try pair.follow("cut rename")
  }

  /// What has arrived and is not applied yet is neither forgotten by a restart nor trimmed away.
  @Test func unappliedEntriesSurviveARestart() throws {
    let pair = try PairFixture(seed: 2)
    try create(pair, "a.db", "delete", 5)
    try create(pair, "b.db", "delete", 5)
    try pair.follow()
    try pair.replica.store.maintain()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN; SELECT count(*) FROM t")
    for name in ["a.db", "b.db"] {
      let writer = try pair.primary.connect(name)
      for row in 0..<10 { try writer.run("INSERT INTO t VALUES (\(row))") }
    }
    try pair.ship()
    #expect(eventually { pair.replica.position("b.db") == pair.primary.position("b.db") })
    try pair.replica.store.maintain()
    try pair.replica.store.maintain(everything: true)
    let copy = try TestDirectory.copy(of: pair.replica.directory.path)
    reader.close()
    try pair.settle()
    let again = try StoreFixture(copy, role: .replica)
    #expect(again.position("a.db") == pair.primary.position("a.db"))
    #expect(again.position("b.db") == pair.primary.position("b.db"))
    #expect(
      try CommittedImage(path: again.path("a.db")).bytes
        == CommittedImage(path: pair.primary.path("a.db")).bytes
    )
  }

  /// The disk fails between the entries of one batch: those that are in the log are applied.
  @Test func halfABatch() throws {
    let disk = FaultyDisk()
    let pair = try PairFixture(seed: 2, disk: disk)
    try create(pair, "a.db", "wal", 10)
    let writer = try pair.primary.connect("a.db")
    // More than one write takes; before them the segment gets its header.
    for _ in 0..<8 {
      try writer.run("INSERT INTO t VALUES (randomblob(\(RecentEntries.blockBytes / 5)))")
    }
    writer.close()
    let batch = try pair.primary.store.read(from: LogIndex(1), maxBytes: 8 << 20)
    disk.fail([.write], at: 3, path: "/log/")
    #expect(throws: StoreError.self) { try pair.engine.append(batch) }
    disk.heal()
    let last = pair.engine.logSummary().last.index
    #expect(last > .zero && last < batch.last)
    try pair.settle()
    try pair.follow("the rest")
  }

  /// A disk that refuses a write while a transaction is applied: readers never see half of it, and
  /// once the disk is well the replica comes to the primary's state.
  @Test(arguments: ["wal", "delete"]) func failingDisk(mode: String) throws {
    let disk = FaultyDisk()
    let pair = try PairFixture(seed: 2, disk: disk)
    try create(pair, "a.db", mode, 5)
    try pair.follow()
    let writer = try pair.primary.connect("a.db")
    for step in 1...12 {
      try writer.run("INSERT INTO t VALUES (hex(zeroblob(9000))); DELETE FROM t WHERE a = \(step)")
      disk.fail([.write, .truncate], at: step, path: "/files/")
      try pair.ship()
      _ = eventually(1) {
        pair.engine.progress().applied == pair.engine.progress().received
          || !pair.engine.databasesToRepair().isEmpty
      }
      disk.heal()
      try pair.follow("step \(step)")
      #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
    }
  }
}
