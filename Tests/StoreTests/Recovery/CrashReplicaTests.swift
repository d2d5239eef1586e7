import Foundation
import LTX
import Testing

@testable import Store

/// A replica whose machine loses power at each operation on its disk: it comes back with what it had
/// acknowledged, at a prefix of the primary's log, and goes on to be equal.
@Suite(.timeLimit(.minutes(60)), .serialized)
final class CrashReplicaTests {
  private static let segmentBytes: Int64 = 24 << 10
  private let primary: StoreFixture
  private let disk: CrashDisk
  private let pair: PairFixture
  private var history = CrashHistory()

  init() throws {
    primary = try StoreFixture()
    let directory = try TestDirectory("crash")
    disk = try CrashDisk(directory)
    pair = try PairFixture(
      primary: primary,
      replica: Self.replica(directory, disk)
    )
    history.segmentBytes = Self.segmentBytes
  }

  private static func replica(
    _ directory: TestDirectory,
    _ disk: any Disk
  ) throws -> StoreFixture {
    try StoreFixture(directory, disk: disk, role: .replica) {
      $0.segmentBytes = segmentBytes
      $0.maxLogBytes = 60 << 10
      $0.retentionMilliseconds = 0
    }
  }

  /// Sends everything, waits until it is applied, and notes what the replica acknowledged.
  private func follow() throws {
    try history.advance(primary.store.log)
    try pair.follow()
    disk.note(.promise(pair.engine.progress().durable))
  }

  private func crash(_ name: String, stride: Int = 1, common: LogIndex? = nil) throws {
    try history.advance(primary.store.log)
    var run = CrashRun(name, disk, history)
    run.stride = stride
    run.recoveryEvery = 100
    let (primary, history) = (primary, history)
    run.use = { directory, promised in
      _ = try history.expectCommitted(directory, promised: promised)
      let replica = try Self.replica(directory, SystemDisk())
      let pair = try PairFixture(primary: primary, replica: replica)
      let last = replica.store.log.last
      // As a session begins: what the primary does not have goes, and one that is ahead of nothing
      // but an empty log starts over.
      if let common, last.index > common, primary.store.log.term(at: last.index) != last.term {
        try pair.engine.truncate(after: common)
      }
      try pair.follow("after a crash")
      for name in primary.store.databases().map(\.name) {
        let verdict = try pair.read(name).value("PRAGMA integrity_check")
        guard verdict == "ok" else {
          throw LogReplay.Mismatch(description: "\(name): integrity_check says \(verdict)")
        }
      }
      try replica.store.maintain(everything: true)
      try pair.compare("housekeeping after a crash")
    }
    let tally = try run.crashEverywhere()
    #expect(tally.images > 20)
  }

  private func create(_ name: String, _ mode: String, rows: Int) throws -> Connection {
    let writer = try primary.connect(name)
    try writer.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); "
        + "CREATE TABLE t(id INTEGER PRIMARY KEY, a)"
    )
    for row in 0..<rows {
      try writer.run("INSERT INTO t(a) VALUES (hex(zeroblob(\(row * 97 % 900))))")
    }
    return writer
  }

  @Test(arguments: ["wal", "delete"]) func applies(mode: String) throws {
    let writer = try create("a.db", mode, rows: 4)
    try follow()
    try pair.replica.store.maintain()
    for round in 0..<5 {
      try writer.run("INSERT INTO t(a) VALUES (hex(zeroblob(\(round * 700))))")
      try writer.run("UPDATE t SET a = \(round) WHERE id = \(round + 1)")
      if round == 2 { try writer.run("DELETE FROM t WHERE id < 3; VACUUM") }
      try follow()
      if round % 2 == 1 { try pair.replica.store.maintain(everything: round == 3) }
    }
    try writer.run("PRAGMA journal_mode=\(mode == "wal" ? "delete" : "wal")")
    try writer.run("INSERT INTO t(a) VALUES (1)")
    try follow()
    try pair.replica.store.maintain(everything: true)
    try pair.replica.store.shutDown()
    try crash("replica applies \(mode)")
  }

  @Test(arguments: ["wal", "delete"]) func names(mode: String) throws {
    _ = try create("a.db", mode, rows: 3)
    _ = try create("b.db", mode, rows: 2)
    try follow()
    try pair.replica.store.maintain()
    func rename(_ source: String, _ target: String) throws {
      try completing {
        primary.store.rename(source, to: target, noReplace: false, exchange: false, done: $0)
      }
    }
    try rename("a.db", "c.db")
    try follow()
    let writer = try create("a.db", mode, rows: 1)
    writer.close()
    try follow()
    try rename("a.db", "b.db")
    try completing { primary.store.remove(FileName("c.db"), done: $0) }
    try follow()
    try pair.replica.store.maintain(everything: true)
    _ = try create("c.db", mode, rows: 1)
    try rename("b.db", "a.db")
    try follow()
    try pair.replica.store.maintain()
    try crash("replica names \(mode)")
  }

  /// Everything anew from a snapshot under writes, then a repair of what has gone bad.
  @Test(arguments: ["wal", "delete"]) func snapshots(mode: String) throws {
    let writer = try create("a.db", mode, rows: 16)
    disk.note(.retract(.zero))
    try pair.engine.reset(to: primary.store.log.last, databases: primary.store.databases())
    try history.advance(primary.store.log)
    var round = 0
    try pair.repair(maxBytes: 4000) {
      round += 1
      if round < 4 {
        try writer.run(
          "INSERT INTO t(a) VALUES (\(round)); UPDATE t SET a = 'x' WHERE id = \(round)"
        )
        try history.advance(primary.store.log)
        try pair.ship()
      }
    }
    try follow()
    try pair.replica.store.maintain()
    for _ in 0..<3 { try writer.run("INSERT INTO t(a) VALUES (zeroblob(900))") }
    try pair.engine.markForRepair(["a.db"])
    try follow()
    try writer.run("DELETE FROM t WHERE id % 2 = 0")
    try follow()
    try pair.replica.store.maintain(everything: true)
    // Over again, now with something to set aside.
    disk.note(.retract(.zero))
    try pair.engine.reset(to: primary.store.log.last, databases: primary.store.databases())
    try follow()
    try pair.replica.store.maintain()
    try crash("replica snapshots \(mode)")
  }

  /// A tail that the primary does not have is cut, and what it touched is repaired.
  @Test(arguments: ["wal", "delete"]) func divergedTail(mode: String) throws {
    let writer = try create("a.db", mode, rows: 8)
    _ = try create("b.db", mode, rows: 2)
    try follow()
    try pair.replica.store.maintain()
    let common = pair.engine.logSummary().last.index
    let ahead = try StoreFixture(TestDirectory.copy(of: primary.directory.path))
    let stray = try ahead.connect("a.db")
    for n in 0..<6 { try stray.run("INSERT INTO t(a) VALUES (zeroblob(\(n * 500)))") }
    try ahead.connect("new.db").run("CREATE TABLE only_here(a)")
    var other = history
    try other.advance(ahead.store.log)
    history.merge(other)
    try pair.engine.append(try ahead.store.read(from: common.next, maxBytes: 1 << 20))
    try pair.settle()
    try pair.replica.store.maintain()
    disk.note(.promise(pair.engine.progress().durable))
    disk.note(.retract(common))
    try pair.engine.truncate(after: common)
    for _ in 0..<3 { try writer.run("INSERT INTO t(a) VALUES ('right')") }
    try follow()
    try pair.replica.store.maintain(everything: true)
    try crash("diverged tail \(mode)", common: common)
  }

  @Test func large() throws {
    let writer = try create("a.db", "wal", rows: 1)
    try follow()
    try writer.run("INSERT INTO t(a) VALUES (randomblob(1300000))")
    try follow()
    try pair.replica.store.maintain()
    try writer.run("DELETE FROM t")
    try follow()
    try crash("replica large", stride: 61)
  }
}
