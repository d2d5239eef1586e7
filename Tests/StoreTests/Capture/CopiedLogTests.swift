import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Databases whose write-ahead log is brought by something other than SQLite.
@Suite(.timeLimit(.minutes(15)))
struct CopiedLogTests {
  /// Main file and write-ahead log of a database with both, while its connection is open.
  private func make(_ fixture: StoreFixture) throws -> (main: [UInt8], wal: [UInt8]) {
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA page_size=1024; PRAGMA journal_mode=wal; CREATE TABLE t(a)")
    try connection.run("PRAGMA wal_checkpoint; INSERT INTO t VALUES (1)")
    for row in 0..<30 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(row * 50))))") }
    return (
      try bytes(ofFile: fixture.path("a.db")), try bytes(ofFile: fixture.path("a.db-wal"))
    )
  }

  /// Writes into a file that is open on the mount.
  private func write(
    _ bytes: [UInt8],
    at offset: Int64,
    _ file: MountedFile,
    _ fixture: StoreFixture
  ) throws {
    try bytes.withUnsafeBytes { raw in
      try completing { fixture.store.write(file, at: offset, raw, done: $0) }
    }
  }

  /// Writes a file as `cp` does, in blocks. The kernel sends the truncation as a request of its own.
  private func copy(
    _ bytes: [UInt8],
    to name: String,
    _ fixture: StoreFixture,
    block: Int = 4096
  ) throws {
    let file = try fixture.store.open(FileName(name), [.write, .create])
    if try file.file.information().size > 0 {
      try completing { fixture.store.truncate(FileName(name), file, to: 0, done: $0) }
    }
    for start in stride(from: 0, to: bytes.count, by: block) {
      let part = Array(bytes[start..<min(start + block, bytes.count)])
      try write(part, at: Int64(start), file, fixture)
    }
    try completing { fixture.store.close(file, wrote: true, done: $0) }
  }

  /// The blocks of a copy end in the midst of pages.
  @Test(arguments: [100, 1000, 4096, 65_536])
  func logBehindItsDatabase(block: Int) throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    try copy(main, to: "b.db", fixture)
    try copy(wal, to: "b.db-wal", fixture, block: block)
    try fixture.check("b.db", "cp")
    let connection = try fixture.connect("b.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 31)
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("b.db", "a transaction after cp")
    connection.close()
    try fixture.check("b.db", "close")
  }

  /// The log comes before its database does.
  @Test func logBeforeItsDatabase() throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    try copy(wal, to: "b.db-wal", fixture)
    #expect(fixture.store.databases().map(\.name) == ["a.db"])
    try copy(main, to: "b.db", fixture)
    try fixture.check("b.db", "cp")
    let connection = try fixture.connect("b.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 31)
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("b.db", "a transaction after cp")
  }

  /// A database is copied over one whose write-ahead log is in use.
  @Test(arguments: [false, true]) func databaseUnderItsLog(restarted: Bool) throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("b.db")
    try connection.run("PRAGMA page_size=1024; PRAGMA journal_mode=wal; CREATE TABLE t(a)")
    for row in 0..<30 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(row * 50))))") }
    try connection.run("PRAGMA wal_checkpoint(RESTART)")
    var main = try bytes(ofFile: fixture.path("b.db"))
    if !restarted { try connection.run("INSERT INTO t VALUES (1)") }
    let page = 5
    for byte in (page * 1024 + 100)..<(page * 1024 + 200) { main[byte] ^= 0x55 }
    try copy(main, to: "b.db", fixture)
    // A log that is about to be started over counts no more, although its frames are there.
    if !restarted { try fixture.check("b.db", "cp") }
    try connection.run("INSERT INTO t VALUES (2)")
    try fixture.check("b.db", "a transaction after it")
  }

  /// A database is copied in the midst of a transaction, with the journal that undoes it.
  @Test func journalBehindItsDatabase() throws {
    let fixture = try StoreFixture()
    let source = try fixture.connect("a.db")
    try source.run("PRAGMA cache_size=2; CREATE TABLE t(a); PRAGMA cache_spill=1")
    for row in 0..<30 { try source.run("INSERT INTO t VALUES (hex(zeroblob(\(row * 90))))") }
    try source.run("BEGIN; UPDATE t SET a = 'undone'; DELETE FROM t WHERE rowid < 9")
    let main = try bytes(ofFile: fixture.path("a.db"))
    let journal = try bytes(ofFile: fixture.path("a.db-journal"))
    try source.run("ROLLBACK")
    try copy(main, to: "b.db", fixture)
    try copy(journal, to: "b.db-journal", fixture, block: 65_536)
    // Housekeeping comes before anybody opens it.
    try fixture.store.mend()
    let connection = try fixture.connect("b.db")
    #expect(try connection.number("SELECT count(*) FROM t WHERE a != 'undone'") == 30)
    try fixture.check("b.db", "SQLite's undoing")
    #expect(fixture.store.database("b.db")?.state.withLock { $0.damaged.isEmpty } == true)
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("b.db", "a transaction after it")
  }

  /// Another client writes into a copied database while that is taken over, where it was read already.
  @Test func changedWhileItIsRead() throws {
    let disk = FaultyDisk()
    let fixture = try StoreFixture(disk: disk)
    let (main, _) = try make(fixture)
    let file = try fixture.store.open(FileName("b.db"), [.write, .create])
    try write(main, at: 0, file, fixture)
    let other = try fixture.store.open(FileName("b.db"), [.write])
    let path = fixture.path("b.db")
    let changes = Mutex(0)
    disk.watcher.withLock {
      $0 = { operation, target in
        // All pages have been read when the log takes them.
        guard operation == .write, target.contains("/log/") else { return }
        let isFirst = changes.withLock { count in
          count += 1
          return count == 1
        }
        if isFirst { try? SystemDisk().open(path, [.write]).writeAll([1, 2, 3], at: 1500) }
      }
    }
    try completing { fixture.store.close(file, wrote: true, done: $0) }
    disk.watcher.withLock { $0 = nil }
    #expect(changes.withLock { $0 } > 0)
    try completing { fixture.store.close(other, wrote: true, done: $0) }
    try fixture.check("b.db", "the other client's change")
  }

  /// Somebody still writes to a log that has been removed.
  @Test func removedLog() throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    let file = try fixture.store.open(FileName("b.db-wal"), [.write, .create])
    try completing { fixture.store.remove(FileName("b.db-wal"), done: $0) }
    try copy(main, to: "b.db", fixture)
    let before = fixture.position("b.db")
    try write(wal, at: 0, file, fixture)
    #expect(fixture.position("b.db") == before)
    try fixture.check("b.db", "a write to a removed file")
  }

  /// `rm a.db-wal`: what only the log had is lost, here and on the replicas.
  @Test(arguments: [true, false]) func logTakenAway(truncated: Bool) throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    try copy(main, to: "b.db", fixture)
    try copy(wal, to: "b.db-wal", fixture)
    if truncated {
      try completing { fixture.store.truncate(FileName("b.db-wal"), nil, to: 0, done: $0) }
    } else {
      try completing { fixture.store.remove(FileName("b.db-wal"), done: $0) }
    }
    try fixture.check("b.db", "the loss of the log")
    let connection = try fixture.connect("b.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 0)
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("b.db", "a transaction after it")
  }

  /// One byte of the log is changed, so that SQLite ignores all of it, and a database of an older state is
  /// copied over the one that had it.
  @Test(arguments: [0, 5, 13, 20, 31, 33, 40, 1000])
  func spoiledLog(at offset: Int64) throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    let log = Array(wal.prefix(32 + 1048))
    for round in 0..<3 {
      try copy(main, to: "b.db", fixture)
      try copy(log, to: "b.db-wal", fixture)
      let file = try fixture.store.open(FileName("b.db-wal"), [.write])
      try write([log[Int(offset)] &+ 1], at: offset, file, fixture)
      try completing { fixture.store.close(file, wrote: true, done: $0) }
      let connection = try fixture.connect("b.db")
      #expect(try connection.number("SELECT count(*) FROM t") == 0)
      connection.close()
      try fixture.check("b.db", "round \(round)")
    }
  }

  /// Frames in the middle of the log are damaged, so that SQLite's recovery ends before them.
  @Test func damagedLog() throws {
    let fixture = try StoreFixture()
    let (main, wal) = try make(fixture)
    try copy(main, to: "b.db", fixture)
    try copy(wal, to: "b.db-wal", fixture)
    let file = try fixture.store.open(FileName("b.db-wal"), [.write])
    try write([UInt8](repeating: 7, count: 40), at: 32 + 20 * 1048 + 100, file, fixture)
    let connection = try fixture.connect("b.db")
    let count = try connection.number("SELECT count(*) FROM t")
    #expect(count > 0 && count < 31)
    try fixture.check("b.db", "recovery")
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("b.db", "a transaction after it")
    #expect(try connection.number("SELECT count(*) FROM t") == count + 1)
  }
}
