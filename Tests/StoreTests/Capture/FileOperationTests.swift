import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Files that are removed, renamed, copied and emptied by something other than SQLite.
@Suite(.timeLimit(.minutes(15)))
struct FileOperationTests {
  private func create(
    _ fixture: StoreFixture,
    _ name: String,
    mode: String = "wal",
    rows: Int = 30
  ) throws {
    let connection = try fixture.connect(name)
    try connection.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    for row in 0..<rows { try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(row * 9))))") }
  }

  /// Writes a file as `cp` does.
  private func copy(_ bytes: [UInt8], to name: String, _ fixture: StoreFixture) throws {
    let file = try fixture.store.open(FileName(name), [.write, .create, .truncate])
    try file.file.writeAll(bytes, at: 0)
    try completing { fixture.store.close(file, wrote: true, done: $0) }
  }

  private func remove(_ name: String, _ fixture: StoreFixture) throws {
    try completing { fixture.store.remove(FileName(name), done: $0) }
  }

  private func rename(_ source: String, _ target: String, _ fixture: StoreFixture) throws {
    try completing {
      fixture.store.rename(source, to: target, noReplace: false, exchange: false, done: $0)
    }
  }

  @Test(arguments: ["wal", "delete"], ["wal", "delete"])
  func copyOver(_ old: String, _ new: String) throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db", mode: old, rows: 40)
    try create(fixture, "b.db", mode: new, rows: 25)
    let bytes = try bytes(ofFile: fixture.path("b.db"))
    try copy(bytes, to: "a.db", fixture)
    try fixture.check("a.db", "cp")
    #expect(try StoreTests.bytes(ofFile: fixture.path("a.db")) == bytes)
    let connection = try fixture.connect("a.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 25)
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("a.db", "a transaction after cp")
  }

  @Test func copyToANewName() throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db")
    try copy(try bytes(ofFile: fixture.path("a.db")), to: "c.db", fixture)
    try fixture.check("c.db", "cp")
    #expect(fixture.position("c.db").txid == TXID(1))
    try copy(Array("no database".utf8), to: "notes.txt", fixture)
    #expect(fixture.store.databases().map(\.name) == ["a.db", "c.db"])
  }

  /// `> a.db`
  @Test(arguments: ["wal", "delete"]) func emptied(mode: String) throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db", mode: mode)
    try copy([], to: "a.db", fixture)
    try fixture.check("a.db", "emptying")
    try create(fixture, "a.db", mode: mode, rows: 3)
    try fixture.check("a.db", "filling again")
    #expect(try fixture.connect("a.db").number("SELECT count(*) FROM t") == 3)
  }

  @Test(arguments: ["wal", "delete", "persist"]) func dropAndCreateAgain(mode: String) throws {
    let fixture = try StoreFixture()
    for rows in [20, 5, 30] {
      try create(fixture, "a.db", mode: mode, rows: rows)
      try fixture.check("a.db", "\(rows) rows")
      try remove("a.db", fixture)
      #expect(fixture.store.databases().isEmpty)
      try fixture.replay.advance(fixture.store.log)
      #expect(fixture.replay.images.isEmpty)
      if mode == "persist" { try remove("a.db-journal", fixture) }
    }
    let directory = fixture.directory.path + "/state"
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: directory).filter {
        $0.hasSuffix(".db") || $0.hasSuffix(".sums")
      } == []
    )
  }

  /// The journal of a database that is gone can be removed.
  @Test func hotJournalOfARemovedDatabase() throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db", mode: "delete")
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA cache_size=2; BEGIN; UPDATE t SET a = 1")
    let journal = try bytes(ofFile: fixture.path("a.db-journal"))
    try connection.run("COMMIT")
    connection.close()
    try copy(journal, to: "a.db-journal", fixture)
    try remove("a.db", fixture)
    try remove("a.db-journal", fixture)
    #expect(!FileManager.default.fileExists(atPath: fixture.path("a.db-journal")))
    #expect(fixture.store.databases().isEmpty)
  }

  @Test(arguments: ["wal", "delete"]) func rename(mode: String) throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db", mode: mode)
    let position = fixture.position("a.db")
    try rename("a.db", "b.db", fixture)
    #expect(fixture.position("b.db") == position)
    try fixture.check("b.db", "rename")
    try create(fixture, "a.db", mode: mode, rows: 3)
    try fixture.check("a.db", "a new one of the old name")
    let connection = try fixture.connect("b.db")
    try connection.run("INSERT INTO t VALUES (5)")
    try fixture.check("b.db", "a transaction after the rename")
    connection.close()
    try rename("a.db", "b.db", fixture)
    try fixture.check("b.db", "rename over another")
    #expect(try fixture.connect("b.db").number("SELECT count(*) FROM t") == 3)
    #expect(fixture.store.databases().map(\.name) == ["b.db"])
  }

  @Test func renameOfADirectory() throws {
    let fixture = try StoreFixture()
    try FileManager.default.createDirectory(
      atPath: fixture.path("x/y"),
      withIntermediateDirectories: true
    )
    try create(fixture, "x/y/a.db")
    try create(fixture, "x/b.db", mode: "delete")
    try rename("x", "z", fixture)
    #expect(fixture.store.databases().map(\.name) == ["z/b.db", "z/y/a.db"])
    try fixture.check("z/y/a.db", "rename")
    try fixture.check("z/b.db", "rename")
    let connection = try fixture.connect("z/y/a.db")
    try connection.run("INSERT INTO t VALUES (5)")
    try fixture.check("z/y/a.db", "a transaction after the rename")
  }

  /// Another file is moved into a database's place, as when a backup is put back.
  @Test func replaceByRename() throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db", mode: "delete")
    try create(fixture, "other.db", mode: "delete", rows: 7)
    let bytes = try bytes(ofFile: fixture.path("other.db"))
    try remove("other.db", fixture)
    try write(bytes, toFile: fixture.path("new.tmp"))
    let before = fixture.position("a.db").txid
    try rename("new.tmp", "a.db", fixture)
    try fixture.check("a.db", "replacement")
    #expect(fixture.position("a.db").txid > before)
    let connection = try fixture.connect("a.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 7)
    try connection.run("INSERT INTO t VALUES (5)")
    try fixture.check("a.db", "a transaction after it")
  }

  /// After a checkpoint that cuts the log to nothing, pages are read from the main file.
  @Test func snapshotAfterTruncatingCheckpoint() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=WAL; CREATE TABLE t(a)")
    for _ in 0..<20 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(3000)))") }
    #expect(try connection.run("PRAGMA wal_checkpoint(TRUNCATE)").first?.first == "0")
    let source = try fixture.store.openSnapshot(of: "a.db", checksums: [])
    var pages: [SnapshotPage] = []
    while let more = try source.next(maxBytes: 8192) { pages += more }
    #expect(pages.flatMap(\.bytes) == (try CommittedImage(path: fixture.path("a.db"))).bytes)
    // What has been checkpointed need not be redone.
    try fixture.store.maintain()
    let database = try #require(fixture.store.database("a.db"))
    let isStable = database.state.withLock { $0.stable == $0.entry }
    #expect(isStable)
  }

  @Test func exportAndImport() throws {
    let fixture = try StoreFixture()
    try create(fixture, "a.db")
    let connection = try fixture.connect("a.db")
    try connection.run("INSERT INTO t VALUES ('last')")
    let target = fixture.directory.path + "/export.db"
    let exporter = try DatabaseExporter("a.db", in: fixture.store, to: target)
    while try exporter.step(maxBytes: 4096) {
      try connection.run("INSERT INTO t VALUES (hex(zeroblob(2000)))")
    }
    #expect(try exporter.finish() == fixture.position("a.db"))
    let exported = try Connection(target)
    #expect(try exported.value("PRAGMA integrity_check") == "ok")
    #expect(
      try exported.number("SELECT count(*) FROM t")
        == connection.number("SELECT count(*) FROM t")
    )
    exported.close()
    #expect { try fixture.store.importDatabase("a.db", from: target) } throws: {
      ($0 as? StoreError)?.code == .busy
    }
    connection.close()
    _ = try fixture.store.importDatabase("a.db", from: target)
    try fixture.check("a.db", "import over a database")
  }
}
