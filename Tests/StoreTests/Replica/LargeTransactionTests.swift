import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Transactions above a mebibyte travel in parts.
@Suite(.timeLimit(.minutes(15)))
struct LargeTransactionTests {
  private static let big = "INSERT INTO t SELECT randomblob(200000) FROM n"
  private static let tables =
    "CREATE TABLE t(a); CREATE TABLE n(i); "
    + "INSERT INTO n VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12)"

  private func kinds(_ fixture: StoreFixture) throws -> [LogEntryKind] {
    try fixture.store.log.all().map(\.kind)
  }

  @Test(arguments: ["wal", "delete"]) func inParts(mode: String) throws {
    let pair = try PairFixture(seed: 3)
    let connection = try pair.primary.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); \(Self.tables)")
    for round in 0..<3 {
      try connection.run("\(Self.big); UPDATE n SET i = i + \(round)")
      try pair.primary.check("a.db", "round \(round)")
      try pair.follow("round \(round)")
    }
    let kinds = try kinds(pair.primary)
    #expect(kinds.filter { $0 == .stagedTransaction }.count == 3)
    #expect(kinds.filter { $0 == .stage }.count >= 24)
    #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
    let again = try StoreFixture(TestDirectory.copy(of: pair.primary.directory.path))
    try again.check("a.db", "a start")
    let replica = try StoreFixture(
      TestDirectory.copy(of: pair.replica.directory.path),
      role: .replica
    )
    #expect(replica.position("a.db") == pair.primary.position("a.db"))
  }

  /// Pages that compress take a small part of the log; small transactions go into it as they are.
  @Test(arguments: ["wal", "delete"]) func compressed(mode: String) throws {
    let pair = try PairFixture(seed: 4)
    let connection = try pair.primary.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); \(Self.tables)")
    let log = pair.primary.store.log
    func growth(_ statement: String) throws -> UInt64 {
      let before = log.summary().last.index
      try connection.run(statement)
      return try log.all().filter { $0.id.index > before }.reduce(0) {
        $0 + UInt64($1.payload.count)
      }
    }
    let large = try growth("INSERT INTO t SELECT zeroblob(200000) FROM n")
    #expect((1...240_000).contains(large), "\(large) bytes for 2.4 MB of zeros")
    let small = try growth("INSERT INTO t VALUES (zeroblob(200000))")
    #expect(small > 200_000, "\(small) bytes for 200,000 zeros")
    try pair.follow("compressed")
    #expect(try pair.read("a.db").number("SELECT sum(length(a)) FROM t") == 2_600_000)
  }

  /// The commits of another database come between the parts.
  @Test(arguments: ["wal", "delete"]) func betweenOthers(mode: String) throws {
    let pair = try PairFixture(seed: 3)
    let connection = try pair.primary.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); \(Self.tables)")
    let small = try pair.primary.connect("b.db")
    try small.run("PRAGMA journal_mode=WAL; CREATE TABLE t(a)")
    let stop = Mutex(false)
    let (path, vfs) = (pair.primary.path("b.db"), pair.primary.vfs)
    let group = DispatchGroup()
    DispatchQueue.global().async(group: group) {
      guard let writer = try? Connection(path, vfs: vfs) else { return }
      while !stop.withLock({ $0 }) { _ = try? writer.run("INSERT INTO t VALUES (1)") }
    }
    for _ in 0..<3 { try connection.run(Self.big) }
    stop.withLock { $0 = true }
    group.wait()
    let kinds = try kinds(pair.primary)
    #expect(kinds.filter { $0 == .stagedTransaction }.count == 3)
    try pair.follow("interleaved")
    try pair.primary.check("b.db", "interleaved")
  }

  /// The log refuses one of the parts: nothing of the transaction happened, anywhere.
  @Test(arguments: ["wal", "delete"], 1...9) func refusedPart(mode: String, part: Int) throws {
    let disk = FaultyDisk()
    let fixture = try StoreFixture(disk: disk)
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=\(mode); \(Self.tables)")
    disk.fail([.write], at: part, path: "/log/")
    #expect(throws: Connection.Failure.self) { try connection.run(Self.big) }
    disk.heal()
    #expect(try connection.number("SELECT count(*) FROM t") == 0)
    try fixture.check("a.db", "part \(part) was refused")
    try connection.run("INSERT INTO t VALUES (1); \(Self.big)")
    try fixture.check("a.db", "a second attempt")
    let again = try StoreFixture(TestDirectory.copy(of: fixture.directory.path))
    try again.check("a.db", "a start")
    #expect(try again.connect("a.db").number("SELECT count(*) FROM t") == 13)
  }

  /// A part that is lost costs its database and not the node.
  @Test func lostPart() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=DELETE; \(Self.tables)")
    let other = try fixture.connect("b.db")
    try other.run("CREATE TABLE t(a); INSERT INTO t VALUES (7)")
    try fixture.store.maintain()
    try connection.run(Self.big)
    let commit = fixture.store.log.last.index
    // The same log without one of the parts: its entry belongs to another database.
    let directory = try TestDirectory.copy(of: fixture.directory.path)
    let log = try Log.open(
      directory: directory.path + "/log",
      disk: SystemDisk(),
      clock: fixture.clock
    )
    let tail = try fixture.store.log.all().filter { $0.id.index.rawValue > commit.rawValue - 3 }
    try log.cut(after: LogIndex(commit.rawValue - 3)) { (_) throws(StoreError) in
    } before: {
      () throws(StoreError) in
    }
    for entry in tail {
      let name = entry.kind == .stage ? "x.db" : entry.database
      _ = try log.append(entry.kind, database: name, bytes: Array(entry.payload))
    }
    let again = try StoreFixture(directory)
    #expect(again.store.database("a.db")?.published.failed != nil)
    #expect(throws: StoreError.self) { try again.store.open(FileName("a.db"), []) }
    #expect(try again.connect("b.db").number("SELECT a FROM t") == 7)
    let replica = try StoreFixture(directory, role: .replica)
    #expect(try ReplicaEngine(store: replica.store).databasesToRepair() == ["a.db"])
  }

  /// The parts stay in a replica's log until the transaction is applied.
  @Test func partsAreKept() throws {
    let pair = try PairFixture(seed: 3)
    let connection = try pair.primary.connect("a.db")
    try connection.run("PRAGMA journal_mode=DELETE; \(Self.tables)")
    try pair.follow()
    try pair.replica.store.maintain()
    let before = pair.engine.logSummary().last.index
    try connection.run(Self.big)
    let commit = pair.primary.store.log.last.index
    for index in (before.rawValue + 1)...(commit.rawValue - 3) {
      try pair.engine.append(try pair.primary.store.read(from: LogIndex(index), maxBytes: 1))
    }
    #expect(pair.engine.logSummary().last.index < commit)
    try pair.replica.store.maintain()
    #expect(pair.engine.appliedThrough <= LogIndex(before.rawValue))
    let reader = try pair.read("a.db")
    try reader.run("BEGIN; SELECT count(*) FROM t")
    try pair.ship()
    #expect(pair.engine.appliedThrough == before)
    try reader.run("COMMIT")
    try pair.settle()
    #expect(pair.engine.appliedThrough == .max)
    try pair.compare()
  }
}
