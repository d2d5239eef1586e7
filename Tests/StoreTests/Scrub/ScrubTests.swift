import Foundation
import LTX
import Testing

@testable import Store

/// Damage on the primary: it is reported and goes nowhere.
@Suite(.timeLimit(.minutes(5)))
struct ScrubTests {
  private let size = 1024

  /// A database of some hundred pages in a journal mode, closed.
  private func fill(_ fixture: StoreFixture, _ mode: String) throws {
    let connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA page_size=\(size); PRAGMA journal_mode=\(mode); CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
        + "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
        + "INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n"
    )
    connection.close()
    try fixture.check("a.db", "filling")
  }

  private func scrubber(_ fixture: StoreFixture) -> Scrubber {
    Scrubber(store: fixture.store, interval: 0)
  }

  private func damaged(_ fixture: StoreFixture) -> [UInt32] {
    fixture.store.database("a.db")?.published.damaged.map(\.rawValue) ?? []
  }

  @Test func aSoundStoreIsReadToItsEnd() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    let scrubber = Scrubber(store: fixture.store, interval: 5000)
    let pages = try #require(fixture.store.database("a.db")?.published.pages)
    try scrubber.pass()
    let progress = scrubber.progress
    #expect(progress.scrubbedPages == UInt64(pages))
    #expect(progress.scrubbedBytes == UInt64(pages) * UInt64(size))
    #expect(progress.damagedPages == 0 && progress.database == nil)
    #expect(progress.lastPass == fixture.clock.milliseconds)
    // The next pass waits for its time.
    #expect(try scrubber.step(maxBytes: 1 << 20) == 0)
    fixture.clock.advance(5000)
    #expect(try scrubber.step(maxBytes: size) == size)
    #expect(scrubber.progress.database == "a.db" && scrubber.progress.done == 1)
    #expect(scrubber.progress.pages == pages)
  }

  @Test(arguments: ["delete", "persist", "truncate", "wal", "memory", "off"], [true, false])
  func damageIsReportedAndNotReplicated(mode: String, quietly: Bool) throws {
    let fixture = try StoreFixture()
    try fill(fixture, mode)
    let last = fixture.store.log.last
    try flip(fixture.path("a.db"), at: 20 * size + 500, quietly: quietly)
    // An application comes and goes; nothing of it is a transaction.
    let reader = try fixture.connect("a.db")
    #expect(try reader.number("SELECT count(*) FROM t") == 300)
    let scrubber = scrubber(fixture)
    try scrubber.pass()
    #expect(damaged(fixture) == [21], "\(mode)")
    #expect(scrubber.progress.damagedPages == 1)
    reader.close()
    try scrubber.pass()
    #expect(fixture.store.log.last == last)
    #expect(damaged(fixture) == [21] && scrubber.progress.damagedPages == 1)
    // Nor is it taken up by a transaction on other pages.
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA journal_mode=\(mode); INSERT INTO t VALUES (1000, 'more')")
    writer.close()
    try scrubber.pass()
    #expect(fixture.store.log.last > last)
    #expect(damaged(fixture) == [21])
    try fixture.replay.advance(fixture.store.log)
    let logged = try #require(fixture.replay.images["a.db"]?.bytes)
    let here = try CommittedImage(path: fixture.path("a.db")).bytes
    let differing = (0..<here.count).filter { here[$0] != logged[$0] }
    #expect(differing == [20 * size + 500])
    // The disk gives the page back after all.
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    try scrubber.pass()
    #expect(damaged(fixture).isEmpty)
  }

  @Test(arguments: ["delete", "persist", "truncate"])
  func aRollbackDoesNotTakeUpDamage(mode: String) throws {
    let fixture = try StoreFixture()
    try fill(fixture, mode)
    let last = fixture.store.log.last
    let writer = try fixture.connect("a.db")
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    try writer.run(
      "PRAGMA journal_mode=\(mode); PRAGMA cache_size=3; BEGIN; UPDATE t SET b = b || 'x'; ROLLBACK"
    )
    writer.close()
    #expect(fixture.store.log.last == last)
    #expect(damaged(fixture) == [21])
  }

  @Test func aTransactionThatRewritesThePageEndsTheReport() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    let scrubber = scrubber(fixture)
    try scrubber.pass()
    #expect(damaged(fixture) == [21])
    let writer = try fixture.connect("a.db")
    try writer.run("UPDATE t SET b = replace(b, '0', '1')")
    try scrubber.settle()
    #expect(damaged(fixture).isEmpty)
    try fixture.check("a.db", "the update")
  }

  @Test func anImportMends() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    let copy = fixture.directory.path + "/copy.db"
    try FileManager.default.copyItem(atPath: fixture.path("a.db"), toPath: copy)
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    try scrubber(fixture).pass()
    #expect(damaged(fixture) == [21])
    _ = try fixture.store.importDatabase("a.db", from: copy)
    try scrubber(fixture).pass()
    #expect(damaged(fixture).isEmpty)
    try fixture.check("a.db", "the import")
  }

  @Test(arguments: [true, false]) func aDamagedFrame(open: Bool) throws {
    let fixture = try StoreFixture()
    try fill(fixture, "wal")
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA wal_autocheckpoint=0; UPDATE t SET b = 'new' WHERE a = 7")
    let wal = try bytes(ofFile: fixture.path("a.db-wal"))
    let frame = try #require(CommittedImage.transactions(wal).last?.last)
    try flip(fixture.path("a.db-wal"), at: frame.offset + 900)
    let scrubber = scrubber(fixture)
    try scrubber.pass()
    #expect(damaged(fixture) == [UInt32(frame.page)])
    if !open {
      // The checkpoint carries it into the main file, where it is still the same damage.
      writer.close()
      try scrubber.pass()
      #expect(damaged(fixture) == [UInt32(frame.page)])
    }
  }

  /// What a program without SQLite's locks writes is a change once it closes the file, no damage.
  @Test func aProgramThatWritesIntoTheFile() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    let file = try fixture.store.open(FileName("a.db"), [.write])
    try file.file.writeAll([1, 2, 3], at: Int64(20 * size + 500))
    let scrubber = scrubber(fixture)
    try scrubber.pass()
    #expect(damaged(fixture).isEmpty && scrubber.progress.damagedPages == 0)
    try completing { fixture.store.close(file, wrote: true, done: $0) }
    try scrubber.pass()
    #expect(damaged(fixture).isEmpty && scrubber.progress.damagedPages == 0)
    try fixture.check("a.db", "the program")
  }

  /// A page that an open transaction has written is no damage; nor is what a dead writer left.
  @Test func unfinishedTransactions() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    let scrubber = scrubber(fixture)
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA cache_size=3; BEGIN; UPDATE t SET b = b || 'x'")
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 0)
    try writer.run("COMMIT")
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 0)
    try fixture.check("a.db", "the commit")
  }

  /// A client that keeps its lock keeps nobody from seeing what the disk lost.
  @Test func exclusiveLocking() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (1000, 'more')")
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    let scrubber = scrubber(fixture)
    try scrubber.pass()
    #expect(damaged(fixture) == [21])
    try writer.run("UPDATE t SET b = 'new' WHERE a = 1000")
    writer.close()
    try scrubber.pass()
    #expect(damaged(fixture) == [21])
  }

  /// After a crash free pages may differ and are taken as they are; a page in use may not.
  @Test(arguments: ["delete", "persist"]) func aCrashDoesNotTakeUpDamage(mode: String) throws {
    let fixture = try StoreFixture()
    try fill(fixture, mode)
    let writer = try fixture.connect("a.db")
    try writer.run("PRAGMA journal_mode=\(mode); DELETE FROM t WHERE a > 200")
    try fixture.store.maintain()
    let last = fixture.store.log.last.index
    try writer.run("PRAGMA cache_size=3; BEGIN")
    for _ in 0..<30 { try writer.run("INSERT INTO t(b) VALUES (hex(randomblob(200)))") }
    let copy = try TestDirectory.copy(of: fixture.directory.path)
    try flip(copy.path + "/files/a.db", at: 20 * size + 500)
    let again = try StoreFixture(copy)
    #expect(damaged(again) == [21])
    try fixture.replay.advance(fixture.store.log, through: last)
    try again.replay.advance(again.store.log)
    let before = try #require(fixture.replay.images["a.db"]?.bytes)
    let after = try #require(again.replay.images["a.db"]?.bytes)
    let page = (20 * size)..<(21 * size)
    #expect(before[page] == after[page])
    #expect(try again.connect("a.db").number("SELECT count(*) FROM t") == 200)
  }

  @Test func aSnapshotNamesThePage() throws {
    let fixture = try StoreFixture()
    try fill(fixture, "delete")
    try flip(fixture.path("a.db"), at: 20 * size + 500)
    let source = try fixture.store.openSnapshot(of: "a.db", checksums: [])
    let error = #expect(throws: StoreError.self) {
      while let pages = try source.next(maxBytes: 8 << 10) {
        #expect(!pages.contains { $0.number == PageNumber(21) })
      }
    }
    #expect(error?.code == .corrupt && error?.message.contains("page 21") == true)
    #expect(damaged(fixture) == [21])
  }
}
