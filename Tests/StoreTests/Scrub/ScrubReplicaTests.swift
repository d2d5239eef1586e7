import Foundation
import LTX
import Testing

@testable import Store

/// Damage on a replica: the page is fetched from the primary.
@Suite(.timeLimit(.minutes(5)))
struct ScrubReplicaTests {
  private func pair(_ mode: String) throws -> PairFixture {
    let pair = try PairFixture()
    let connection = try pair.primary.connect("a.db")
    try connection.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
        + "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
        + "INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n"
    )
    try pair.follow("filling")
    return pair
  }

  @Test(arguments: ["wal", "delete"]) func aPageIsFetched(mode: String) throws {
    let pair = try pair(mode)
    try pair.replica.store.maintain()
    let reader = try pair.read("a.db")
    try reader.run("BEGIN")
    #expect(try reader.number("SELECT count(*) FROM t WHERE length(b) = 400") == 300)
    if mode == "delete" { try reader.run("COMMIT") }
    try flip(pair.replica.path("a.db"), at: 20 * 1024 + 500)
    let scrubber = Scrubber(store: pair.replica.store, interval: 0)
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 1)
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    // While it waits it is not found again.
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 1)
    #expect(try pair.fetch("a.db") == 1)
    #expect(pair.engine.databasesToRepair().isEmpty)
    try pair.compare("the repair")
    // A reader's snapshot outlasts the repair.
    #expect(try reader.number("SELECT count(*) FROM t") == 300)
    if mode == "wal" { try reader.run("COMMIT") }
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 1)
    // Replication goes on.
    try pair.primary.connect("a.db").run("INSERT INTO t VALUES (1000, 'more')")
    try pair.follow("the next transaction")
    #expect(try reader.number("SELECT count(*) FROM t") == 301)
    try pair.replica.store.maintain()
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 1)
    #expect(pair.recoveries == 0)
  }

  @Test func aFrameIsFetched() throws {
    let pair = try pair("wal")
    try pair.primary.connect("a.db").run("UPDATE t SET b = 'new' WHERE a = 7")
    try pair.follow("the update")
    let wal = try bytes(ofFile: pair.replica.path("a.db-wal"))
    let frame = try #require(CommittedImage.transactions(wal).last?.last)
    try flip(pair.replica.path("a.db-wal"), at: frame.offset + 900)
    let scrubber = Scrubber(store: pair.replica.store, interval: 0)
    try scrubber.pass()
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    #expect(try pair.fetch("a.db") == 1)
    let reader = try pair.read("a.db")
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
    reader.close()
    try pair.replica.store.maintain()
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 1)
  }

  /// A node that is restarted between the finding and the repair still repairs.
  @Test(arguments: ["wal", "delete"]) func aRestartRemembers(mode: String) throws {
    let pair = try pair(mode)
    try pair.replica.store.maintain()
    try flip(pair.replica.path("a.db"), at: 20 * 1024 + 500)
    try Scrubber(store: pair.replica.store, interval: 0).pass()
    try pair.restartReplica()
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    try pair.follow("the repair")
  }

  /// Transactions that arrive while the page is being fetched are neither lost nor taken twice.
  @Test(arguments: ["wal", "delete"]) func transactionsMeanwhile(mode: String) throws {
    let pair = try pair(mode)
    try pair.replica.store.maintain()
    try flip(pair.replica.path("a.db"), at: 20 * 1024 + 500)
    try Scrubber(store: pair.replica.store, interval: 0).pass()
    let writer = try pair.primary.connect("a.db")
    try writer.run("UPDATE t SET b = 'new' WHERE a % 3 = 0")
    try pair.ship()
    try pair.repair {
      try writer.run("UPDATE t SET b = 'newer' WHERE a % 5 = 0")
      try pair.ship()
    }
    try pair.follow("the repair")
  }

  /// A primary that lost the page itself cannot help: the replica keeps asking.
  @Test func bothAreDamaged() throws {
    let pair = try pair("delete")
    try flip(pair.primary.path("a.db"), at: 20 * 1024 + 500)
    try flip(pair.replica.path("a.db"), at: 20 * 1024 + 501)
    try Scrubber(store: pair.replica.store, interval: 0).pass()
    #expect(throws: StoreError.self) { try pair.fetch("a.db") }
    #expect(pair.engine.databasesToRepair() == ["a.db"])
    try flip(pair.primary.path("a.db"), at: 20 * 1024 + 500)
    try pair.follow("the primary's page is back")
  }
}
