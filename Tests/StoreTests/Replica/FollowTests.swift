import LTX
import Testing

@testable import Store

/// A replica that gets everything: equal at equal position, in every mode, under readers.
@Suite(.timeLimit(.minutes(15)))
struct FollowTests {
  @Test(
    arguments: CommitCaptureTests.Mode.allCases,
    [Workload.Style.mixed, .vacuum, .drops, .growth, .incrementalVacuum]
  )
  func follows(_ mode: CommitCaptureTests.Mode, _ style: Workload.Style) throws {
    let seed: UInt64 = 21
    let pair = try PairFixture(seed: seed)
    var workload = Workload(seed: seed, style: style, rollback: mode != .off)
    let writer = try pair.primary.connect("a.db")
    try writer.run("PRAGMA page_size=1024; \(workload.preparation) PRAGMA journal_mode=\(mode)")
    for round in 0..<24 {
      for _ in 0...pair.random.below(3) { try writer.run(workload.next()) }
      let what = "\(mode) \(style), round \(round)"
      try pair.follow(what)
      let reader = try pair.read("a.db")
      #expect(try reader.value("PRAGMA integrity_check") == "ok", "\(what)")
      let count = "SELECT count(*), sum(rootpage) FROM sqlite_schema"
      #expect(try reader.run(count) == writer.run(count))
    }
    #expect(pair.recoveries == 0)
  }

  @Test(arguments: [512, 2048, 8192, 16_384, 32_768, 65_536]) func pageSizes(size: Int) throws {
    let pair = try PairFixture(seed: UInt64(size))
    let writer = try pair.primary.connect("a.db")
    var workload = Workload(seed: UInt64(size), style: .mixed, rollback: true)
    try writer.run("PRAGMA page_size=\(size); PRAGMA journal_mode=WAL")
    for round in 0..<10 {
      try writer.run(workload.next())
      try pair.follow("\(size), round \(round)")
      #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
    }
    #expect(pair.recoveries == 0)
  }

  /// The journal mode and the page size change while a replica follows.
  @Test(arguments: 1...4) func switches(seed: Int) throws {
    let pair = try PairFixture(seed: UInt64(seed))
    var workload = Workload(seed: UInt64(seed), style: .mixed, rollback: false)
    let writer = try pair.primary.connect("a.db")
    for round in 0..<40 {
      let mode = CommitCaptureTests.Mode.allCases[pair.random.below(6)]
      if round % 3 == 0 { try writer.run("PRAGMA journal_mode=\(mode)") }
      if round % 8 == 7 {
        try writer.run(
          "PRAGMA journal_mode=DELETE; PRAGMA page_size=\(512 << pair.random.below(8)); VACUUM"
        )
      }
      try writer.run(workload.next())
      if round % 2 == 0 { try pair.follow("seed \(seed), round \(round)") }
      if round % 5 == 0, !pair.primary.store.databases().isEmpty {
        try pair.follow("seed \(seed), round \(round)")
        #expect(try pair.read("a.db").value("PRAGMA integrity_check") == "ok")
      }
    }
    try pair.follow("seed \(seed)")
  }

  @Test func manyDatabases() throws {
    let pair = try PairFixture(seed: 8)
    let writers = try (0..<6).map { try pair.primary.connect("\($0).db") }
    for (number, writer) in writers.enumerated() {
      try writer.run("PRAGMA journal_mode=\(number % 2 == 0 ? "WAL" : "DELETE"); CREATE TABLE t(a)")
    }
    for round in 0..<30 {
      for writer in writers {
        try writer.run("INSERT INTO t VALUES (hex(zeroblob(\(pair.random.below(2000)))))")
      }
      if round % 3 == 0 { try pair.follow("round \(round)") }
    }
    try pair.follow()
  }

  /// A reader keeps its snapshot, however much arrives; those that come later see the newest.
  @Test(arguments: ["wal"]) func longReader(mode: String) throws {
    let pair = try PairFixture(seed: 4)
    let writer = try pair.primary.connect("a.db")
    try writer.run(
      "PRAGMA page_size=512; PRAGMA journal_mode=\(mode); CREATE TABLE t(id INTEGER PRIMARY KEY, a)"
    )
    for row in 0..<50 { try writer.run("INSERT INTO t(a) VALUES (\(row))") }
    try pair.follow()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN")
    let before = try reader.run("SELECT sum(a), count(*) FROM t")
    let other = try pair.read("a.db")
    for round in 0..<1500 {
      try writer.run(
        "UPDATE t SET a = a + \(round) WHERE id % 5 = \(round % 5); "
          + "INSERT INTO t(a) VALUES (\(round))"
      )
      if round % 50 == 49 {
        try pair.ship()
        try pair.settle("round \(round)")
        #expect(try reader.run("SELECT sum(a), count(*) FROM t") == before)
        #expect(
          try other.run("SELECT sum(a), count(*) FROM t")
            == writer.run("SELECT sum(a), count(*) FROM t")
        )
        if round % 500 == 499 { try pair.replica.store.maintain() }
      }
    }
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
    try reader.run("COMMIT")
    #expect(
      try reader.run("SELECT sum(a), count(*) FROM t")
        == writer.run("SELECT sum(a), count(*) FROM t")
    )
    try pair.compare("after a long reader")
    #expect(pair.recoveries == 0)
  }

  /// Without readers the log starts over again and again.
  @Test func writeAheadLogStaysSmall() throws {
    let pair = try PairFixture(seed: 4)
    let writer = try pair.primary.connect("a.db")
    try writer.run("PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(a, b)")
    var largest = 0
    for round in 0..<3000 {
      try writer.run("INSERT INTO t VALUES (\(round), hex(zeroblob(100)))")
      if round % 100 == 99 {
        try pair.ship()
        try pair.settle()
        largest = max(largest, try bytes(ofFile: pair.replica.path("a.db-wal")).count)
      }
    }
    #expect(largest < 1400 * 536)
    try pair.compare()
    #expect(try pair.read("a.db").number("SELECT count(*) FROM t") == 3000)
    #expect(pair.recoveries == 0)
  }

  /// A rollback-journal reader that stays holds back its own database only, and gets its turn.
  @Test func rollbackJournalReader() throws {
    let pair = try PairFixture(seed: 4)
    let (a, b) = (try pair.primary.connect("a.db"), try pair.primary.connect("b.db"))
    for writer in [a, b] { try writer.run("PRAGMA journal_mode=DELETE; CREATE TABLE t(a)") }
    try pair.follow()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN; SELECT count(*) FROM t")
    for writer in [a, b] { try writer.run("INSERT INTO t VALUES (1)") }
    try pair.ship()
    #expect(eventually { pair.replica.position("b.db") == pair.primary.position("b.db") })
    #expect(pair.replica.position("a.db") != pair.primary.position("a.db"))
    #expect(try reader.number("SELECT count(*) FROM t") == 0)
    try reader.run("COMMIT")
    try pair.settle()
    try pair.compare()
    #expect(try reader.number("SELECT count(*) FROM t") == 1)
  }

  @Test(arguments: ["wal", "delete"]) func writesAreRefused(mode: String) throws {
    let pair = try PairFixture()
    let writer = try pair.primary.connect("a.db")
    try writer.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    try pair.follow()
    _ = try pair.read("a.db")
    let connection = try pair.replica.connect("a.db")
    #expect {
      try connection.run("INSERT INTO t VALUES (1)")
    } throws: { ($0 as? Connection.Failure)?.code == 8 }
    #expect(try connection.number("SELECT count(*) FROM t") == 0)
    #expect(throws: StoreError.self) {
      try completing { pair.replica.store.remove(FileName("a.db"), done: $0) }
    }
    #expect(throws: StoreError.self) {
      try completing {
        pair.replica.store.rename(
          "a.db",
          to: "b.db",
          noReplace: false,
          exchange: false,
          done: $0
        )
      }
    }
  }
}
