import CSQLite
import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// A disk that is full or fails: SQLite is told, nothing acknowledged is lost, log and files agree, and
/// the node goes on by itself once the disk works again.
@Suite(.timeLimit(.minutes(5)))
struct BadDiskTests {
  private let disk = FaultyDisk()

  private func begin(_ mode: String) throws -> (StoreFixture, Connection) {
    let fixture = try StoreFixture(disk: disk)
    let connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); PRAGMA synchronous=FULL; "
        + "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t(a) VALUES (zeroblob(3000))"
    )
    return (fixture, connection)
  }

  private func refused(_ code: Int32?, _ connection: Connection, _ sql: String) {
    let failure = #expect(throws: Connection.Failure.self) { try connection.run(sql) }
    if let code { #expect(failure?.code == code, "\(failure?.description ?? "")") }
    _ = try? connection.run("ROLLBACK")
  }

  private let insert = "INSERT INTO t(a) VALUES (zeroblob(2500))"

  /// The log took a transaction that the write-ahead log then did not: SQLite rolls back, and so does
  /// the log, with the next transaction or without one.
  @Test(arguments: [false, true], [0, 4])
  func theWriteAheadLogIsFull(writesAfterwards: Bool, spilled: Int) throws {
    let (fixture, connection) = try begin("wal")
    if spilled > 0 { try connection.run("PRAGMA cache_size=\(spilled)") }
    for round in 0..<40 {
      let rows = try connection.number("SELECT count(*) FROM t")
      disk.fail([.write], at: 1 + round / 2, sticky: true, path: "a.db-wal", code: .full)
      let large = "BEGIN; DELETE FROM t WHERE id % 2; \(insert); \(insert); COMMIT"
      let isRefused = (try? connection.run(round % 3 == 0 ? large : insert)) == nil
      disk.heal()
      if isRefused { _ = try? connection.run("ROLLBACK") }
      if !isRefused { break }
      #expect(try connection.number("SELECT count(*) FROM t") == rows)
      if writesAfterwards { try connection.run(insert) }
      try fixture.store.mend()
      #expect(fixture.store.trouble == nil)
      try fixture.check("a.db", "round \(round)")
    }
    try connection.run(insert + "; PRAGMA wal_checkpoint(TRUNCATE)")
    try fixture.check("a.db", "a checkpoint")
    connection.close()
    let position = fixture.position("a.db")
    try fixture.restart()
    #expect(fixture.position("a.db") == position)
    #expect(try fixture.connect("a.db").value("PRAGMA integrity_check") == "ok")
    try fixture.check("a.db", "a restart")
  }

  /// A crash before the log could make up for it: the log decides, as for any answer that was lost.
  @Test func aCrashAfterAFailedWrite() throws {
    let (fixture, connection) = try begin("wal")
    disk.fail([.write], at: 2, sticky: true, path: "a.db-wal", code: .full)
    refused(SQLITE_FULL, connection, "UPDATE t SET a = zeroblob(100)")
    disk.heal()
    try fixture.store.maintain()
    connection.close()
    try fixture.restart()
    #expect(try fixture.connect("a.db").value("PRAGMA integrity_check") == "ok")
    try fixture.check("a.db", "a restart")
  }

  @Test(arguments: ["delete", "truncate", "persist"])
  func theEndOfAJournalFails(mode: String) throws {
    let (fixture, connection) = try begin(mode)
    for round in 1...3 {
      let rows = try connection.number("SELECT count(*) FROM t")
      // The journal's header is written twice before the write that ends it. Where that fails the file is removed or cut.
      disk.fail([.write], at: 0, path: "a.db-journal")
      try connection.run(insert)
      disk.fail(
        [.write, .remove, .truncate],
        at: disk.counted,
        sticky: mode != "persist",
        path: "a.db-journal"
      )
      let count = try connection.number("SELECT count(*) FROM t")
      refused(nil, connection, insert)
      disk.heal()
      #expect(try connection.number("SELECT count(*) FROM t") == count && count >= rows)
      try fixture.check("a.db", "round \(round)")
      try connection.run(insert)
      try fixture.check("a.db", "a transaction after round \(round)")
    }
    try fixture.store.mend()
    #expect(fixture.store.trouble == nil)
    try fixture.restart()
    #expect(try fixture.connect("a.db").value("PRAGMA integrity_check") == "ok")
    try fixture.check("a.db", "a restart")
  }

  /// Where a commit could only be an I/O error, the transaction is refused while SQLite can say that the
  /// disk is full.
  @Test(arguments: ["delete", "truncate", "persist"])
  func noRoomForAJournalsTransaction(mode: String) throws {
    let (fixture, connection) = try begin(mode)
    disk.room.withLock { $0 = Store.reserve - 1 }
    refused(SQLITE_FULL, connection, insert)
    #expect(fixture.store.trouble?.code == .full)
    #expect(try connection.number("SELECT count(*) FROM t") == 1)
    disk.room.withLock { $0 = 1 << 30 }
    try connection.run(insert)
    try fixture.store.mend()
    #expect(fixture.store.trouble == nil)
    try fixture.check("a.db")
  }

  @Test(arguments: ["wal", "delete"], [StoreError.Code.full, .system(EIO), .system(EROFS)])
  func theLogCannotBeWritten(mode: String, code: StoreError.Code) throws {
    let (fixture, connection) = try begin(mode)
    for torn in [false, true] {
      disk.fail([.write, .truncate], at: 1, sticky: true, torn: torn, path: "/log/", code: code)
      refused(mode == "wal" && code == .full ? SQLITE_FULL : nil, connection, insert)
      #expect(fixture.store.trouble != nil)
      // Reads go on; the node does not take the disk for mended while it is not.
      #expect(try connection.number("SELECT count(*) FROM t") > 0)
      if torn { #expect(throws: StoreError.self) { try fixture.store.mend() } }
      disk.heal()
      try fixture.store.mend()
      #expect(fixture.store.trouble == nil)
      try connection.run(insert)
      try fixture.check("a.db")
    }
    let position = fixture.position("a.db")
    try fixture.restart()
    #expect(fixture.position("a.db") == position)
    try fixture.check("a.db", "a restart")
  }

  @Test(arguments: ["wal", "delete"]) func theLogCannotBeMadeDurable(mode: String) throws {
    let (fixture, connection) = try begin(mode)
    disk.fail([.sync], at: 1, sticky: true, path: "/log/")
    refused(nil, connection, insert)
    // Whatever a sync has lost, a later one does not say.
    refused(nil, connection, insert)
    #expect(throws: StoreError.self) { try fixture.store.mend() }
    disk.heal()
    refused(nil, connection, insert)
    try fixture.store.mend()
    try connection.run(insert)
    #expect(fixture.store.log.durable == fixture.store.log.last.index)
    try fixture.check("a.db")
    let position = fixture.position("a.db")
    try fixture.restart()
    #expect(fixture.position("a.db") == position)
    try fixture.check("a.db", "a restart")
  }

  /// Each operation of writing the log anew fails once; the log is then as it was, and the next attempt
  /// does it.
  @Test func mendingTheLogFails() throws {
    for failAt in 1...20 {
      let (fixture, connection) = try begin("wal")
      disk.fail([.sync], at: 1, path: "/log/")
      refused(nil, connection, insert)
      disk.fail([.open, .write, .sync, .rename, .syncDirectory, .remove], at: failAt)
      let failed = (try? fixture.store.mend()) == nil
      disk.heal()
      try fixture.store.mend()
      try connection.run(insert)
      try fixture.check("a.db", "failure \(failAt)")
      let position = fixture.position("a.db")
      try fixture.restart()
      #expect(fixture.position("a.db") == position)
      if !failed {
        #expect(failAt > 5)
        return
      }
    }
    Issue.record("mending never succeeds")
  }

  @Test(arguments: ["memory", "off"]) func aTransactionWithoutAJournalIsRecordedLater(mode: String)
    throws
  {
    let (fixture, connection) = try begin(mode)
    disk.fail([.write], at: 1, sticky: true, path: "/log/", code: .full)
    try connection.run(insert)
    #expect(fixture.store.trouble != nil)
    disk.heal()
    try fixture.store.mend()
    try fixture.check("a.db")
  }

  @Test(arguments: ["wal", "delete"]) func theDataDirectoryVanishes(mode: String) throws {
    let (fixture, connection) = try begin(mode)
    let path = fixture.directory.path
    try FileManager.default.moveItem(atPath: path, toPath: path + ".away")
    defer { try? FileManager.default.removeItem(atPath: path + ".away") }
    #expect(throws: StoreError.self) { try fixture.store.mend() }
    #expect(fixture.store.trouble?.message.contains(path) == true)
    refused(nil, connection, insert)
    #expect(try connection.number("SELECT count(*) FROM t") == 1)
    // Another one in its place is not it.
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    #expect(throws: StoreError.self) { try fixture.store.mend() }
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: path + ".away", toPath: path)
    try fixture.store.mend()
    #expect(fixture.store.trouble == nil)
    try connection.run(insert)
    try fixture.check("a.db")
  }
}
