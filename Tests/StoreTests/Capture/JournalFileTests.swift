import Foundation
import Synchronization
import Testing

@testable import Store

/// Rollback journals whose files are used again.
@Suite(.timeLimit(.minutes(5)))
struct JournalFileTests {
  private let disk = FaultyDisk()

  private func create(_ fixture: StoreFixture, rows: Int = 3) throws -> Connection {
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA synchronous=FULL; CREATE TABLE t(n INTEGER PRIMARY KEY, a)")
    for row in 0..<rows { try connection.run("INSERT INTO t VALUES (\(row), 'x')") }
    return connection
  }

  private func inode(_ fixture: StoreFixture) throws -> UInt64? {
    try SystemDisk().information(fixture.path("a.db-journal"))?.inode
  }

  private var journal: FileName { FileName("a.db-journal") }

  @Test func theFileStays() throws {
    let fixture = try StoreFixture()
    let connection = try create(fixture)
    let first = try #require(try inode(fixture))
    #expect(fixture.store.presence(of: journal) == .absent)
    #expect(throws: StoreError.self) { try fixture.store.open(journal, []) }
    try connection.run("BEGIN; UPDATE t SET a = 'y' WHERE n = 1")
    // What is left of the last journal is not to be seen.
    guard case .ofSize(let size) = fixture.store.presence(of: journal) else {
      Issue.record("there is no journal in a transaction")
      return
    }
    let file = try fixture.store.open(journal, []).file
    #expect(try file.information().size == size)
    #expect(try file.readBytes(1 << 20, at: 0).count == Int(size))
    try connection.run("COMMIT")
    #expect(try file.readBytes(1, at: 0).isEmpty)
    #expect(throws: StoreError.self) { try file.writeAll([1], at: 0) }
    #expect(try inode(fixture) == first)
    #expect(try RollbackJournal(SystemDisk().open(fixture.path("a.db-journal"), [])) == nil)
    try fixture.check("a.db")
    connection.close()
    try fixture.store.shutDown()
    #expect(try inode(fixture) == nil)
  }

  @Test func anEmptyJournalKeepsItsBlocks() throws {
    let fixture = try StoreFixture()
    let connection = try create(fixture)
    try connection.run("PRAGMA journal_mode=truncate; UPDATE t SET a = 'y' WHERE n = 1")
    #expect(fixture.store.presence(of: journal) == .ofSize(0))
    let path = fixture.path("a.db-journal")
    let before = try #require(try SystemDisk().information(path))
    #expect(before.size > 0)
    try connection.run("UPDATE t SET a = 'z' WHERE n = 1")
    #expect(try SystemDisk().information(path)?.size == before.size)
    #expect(try inode(fixture) == before.inode)
    try fixture.check("a.db")
    connection.close()
    try fixture.store.shutDown()
    #expect(try SystemDisk().information(path)?.size == 0)
  }

  /// A long journal's, and one of several segments.
  @Test(arguments: [
    "BEGIN; UPDATE t SET a = hex(zeroblob(200000)); COMMIT; BEGIN; UPDATE t SET a = 1; COMMIT",
    "PRAGMA cache_size=2; PRAGMA cache_spill=2; BEGIN; UPDATE t SET a = hex(zeroblob(9000)); COMMIT",
  ])
  func theFileGoes(_ statements: String) throws {
    let fixture = try StoreFixture()
    let connection = try create(fixture, rows: 40)
    #expect(try inode(fixture) != nil)
    try connection.run(statements)
    #expect(try inode(fixture) == nil)
    #expect(fixture.store.presence(of: journal) == .asOnDisk)
    try connection.run("UPDATE t SET a = 'z'")
    try fixture.check("a.db")
  }

  /// Once its blocks and its name are durable, a transaction's journal costs the file system nothing but the blocks.
  @Test func aSyncOfTheDirectoryIsNotMadeTwice() throws {
    let fixture = try StoreFixture(disk: disk)
    let connection = try create(fixture)
    disk.fail([.syncDirectory], at: 0)
    try connection.run("UPDATE t SET a = 'y' WHERE n = 1; UPDATE t SET a = 'z' WHERE n = 2")
    #expect(disk.counted == 0)
    // A name that is new must become durable.
    let other = try fixture.connect("b.db")
    try other.run("PRAGMA synchronous=FULL; CREATE TABLE t(a)")
    #expect(disk.counted > 0)
    let before = disk.counted
    fixture.store.namesChanged()
    try connection.run("UPDATE t SET a = 'v' WHERE n = 1")
    #expect(disk.counted == before + 1)
  }

  @Test func aSyncThatFailsIsMadeAgain() throws {
    let fixture = try StoreFixture(disk: disk)
    fixture.store.namesChanged()
    disk.fail([.syncDirectory], at: 1)
    #expect(throws: StoreError.self) {
      try completing { fixture.store.syncDirectory("", done: $0) }
    }
    try completing { fixture.store.syncDirectory("", done: $0) }
    try completing { fixture.store.syncDirectory("", done: $0) }
    #expect(disk.counted == 2)
  }

  @Test(arguments: ["a.db-journal", "sub"]) func itMakesWay(for path: String) throws {
    let fixture = try StoreFixture()
    let name = path == "sub" ? "sub/a.db" : "a.db"
    try SystemDisk().makeDirectory(fixture.path("sub"))
    let connection = try fixture.connect(name)
    try connection.run("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
    let place = fixture.path(name + "-journal")
    #expect(FileManager.default.fileExists(atPath: place))
    try fixture.store.makeWay(at: "su")
    #expect(FileManager.default.fileExists(atPath: place))
    try fixture.store.makeWay(at: path)
    #expect(!FileManager.default.fileExists(atPath: place))
    try connection.run("INSERT INTO t VALUES (2)")
    try fixture.check(name)
  }

  // MARK: The file itself

  /// A journal in the file of another one.
  private func used(
    _ directory: TestDirectory,
    _ bytes: [UInt8],
    isDurable: Bool = true
  ) throws -> JournalFile {
    let file = try disk.open(directory.path + "/journal", [.write, .create])
    try file.writeAll(bytes, at: 0)
    return JournalFile(
      after: JournalEnding(file, length: Int64(bytes.count), isDurable: isDurable)
    )
  }

  /// The disk may bring back the header of the one before as long as that was not synced.
  @Test func nothingIsWrittenBeforeTheEndOfTheLastOneIsDurable() throws {
    let directory = try TestDirectory("journal")
    let old = [UInt8](repeating: 7, count: 600)
    let journal = try used(directory, old, isDurable: false)
    #expect(!journal.isReady)
    disk.fail([.sync], at: 1)
    #expect(throws: StoreError.self) { try journal.writeAll([1], at: 0) }
    #expect(try journal.file.readBytes(600, at: 0) == old)
    // What a sync could not write must be written again, for the next one says nothing of it.
    let atSync = Mutex<[UInt8]>([])
    let file = journal.file
    disk.watcher.withLock {
      $0 = { operation, _ in
        guard operation == .sync, let start = try? file.readBytes(28, at: 0) else { return }
        atSync.withLock { $0 = start }
      }
    }
    try journal.writeAll([1], at: 0)
    disk.watcher.withLock { $0 = nil }
    #expect(atSync.withLock { $0 } == [UInt8](repeating: 0, count: 28))
    #expect(journal.isReady)
    #expect(disk.counted == 2)
  }

  /// SQLite syncs a journal that it has cut: one whose end is durable already has nothing to sync, one that was
  /// really cut has.
  @Test(arguments: [true, false]) func anEmptyJournalIsSynced(isReallyCut: Bool) throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 600), isDurable: false)
    disk.fail([.sync], at: 0)
    if isReallyCut { try journal.truncate(to: 0) }
    try journal.sync()
    #expect(disk.counted == (isReallyCut ? 2 : 1))
    try journal.sync()
    #expect(disk.counted == (isReallyCut ? 3 : 1))
  }

  /// Records that count as far as the file goes are those of a writer who never syncs: a reader syncs them before it
  /// undoes them, and what they name has been written.
  @Test func recordsThatWereNeverToBeSyncedCount() throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 600))
    let start = magic + [0xff, 0xff, 0xff, 0xff]
    try journal.writeAll(start + header.dropFirst(12), at: 0)
    disk.fail([.sync], at: 0)
    try journal.sync()
    #expect(disk.counted == 1)
    #expect(try journal.readBytes(12, at: 0) == start)
  }

  /// Somebody else's descriptor of a journal that is over does not end the next one.
  @Test func onlyTheOpenJournalIsEmptied() throws {
    let fixture = try StoreFixture()
    let connection = try create(fixture)
    try connection.run("BEGIN; UPDATE t SET a = 'y'")
    let old = try fixture.store.open(journal, [.write])
    try connection.run("COMMIT; BEGIN; UPDATE t SET a = 'z'")
    #expect(throws: StoreError.self) {
      try completing { fixture.store.truncate(journal, old, to: 0, done: $0) }
    }
    try connection.run("ROLLBACK")
    #expect(try connection.value("SELECT group_concat(DISTINCT a) FROM t") == "y")
    try fixture.check("a.db")
  }

  @Test func aFullDiskGetsBlocksBack() throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 600))
    try journal.shrink()
    #expect(try journal.file.information().size == 0)
    try journal.writeAll([1], at: 0)
    try journal.shrink()
    #expect(try journal.file.information().size == 1)
  }

  /// A header that counts records is durable once they are.
  @Test func recordsAreDurableBeforeTheyCount() throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 600))
    try journal.writeAll(header, at: 0)
    try journal.writeAll([1, 2, 3], at: Int64(header.count))
    let file = journal.file
    let seen = Mutex<[[UInt8]]>([])
    disk.watcher.withLock {
      $0 = { operation, _ in
        guard operation == .sync, let start = try? file.readBytes(8, at: 0) else { return }
        seen.withLock { $0.append(start) }
      }
    }
    try journal.sync()
    try journal.sync()
    disk.watcher.withLock { $0 = nil }
    #expect(seen.withLock { $0 } == [[UInt8](repeating: 0, count: 8), magic, magic])
    #expect(try journal.readBytes(31, at: 0) == header + [1, 2, 3])
    // What comes after a sync finds no blocks of the other journal.
    try journal.writeAll([4], at: 31)
    #expect(try file.information().size == 32)
  }

  @Test func anIdleFileIsGivenBack() throws {
    let fixture = try StoreFixture()
    let connection = try create(fixture)
    try fixture.store.maintain()
    #expect(try inode(fixture) != nil)
    try connection.run("UPDATE t SET a = 'y'")
    try fixture.store.maintain()
    #expect(try inode(fixture) != nil)
    try fixture.store.maintain()
    #expect(try inode(fixture) == nil)
    try connection.run("UPDATE t SET a = 'z'")
    try fixture.check("a.db")
  }

  private let magic: [UInt8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]

  /// A header with a sector of 512 bytes.
  private var header: [UInt8] {
    magic + [UInt8](repeating: 0, count: 12) + [0, 0, 2, 0] + [0, 0, 16, 0]
  }

  @Test func whatIsLeftOutIsZero() throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 600))
    try journal.writeAll([1, 2], at: 0)
    try journal.writeAll([3], at: 5)
    #expect(try journal.readBytes(100, at: 0) == [1, 2, 0, 0, 0, 3])
    try journal.truncate(to: 8)
    #expect(try journal.readBytes(100, at: 0) == [1, 2, 0, 0, 0, 3, 0, 0])
    #expect(try journal.file.information().size == 8)
  }

  /// SQLite looks for another header in the sector behind the records.
  @Test func noHeaderFollows() throws {
    let directory = try TestDirectory("journal")
    let old = [UInt8](repeating: 7, count: 1024) + magic + [UInt8](repeating: 7, count: 1000)
    let journal = try used(directory, old)
    try journal.writeAll(header, at: 0)
    try journal.writeAll([UInt8](repeating: 1, count: 100), at: 512)
    try journal.sync()
    #expect(try journal.file.readBytes(8, at: 1024) == [UInt8](repeating: 0, count: 8))
    #expect(try journal.file.information().size == Int64(old.count))
  }

  /// It looks for the name of a super-journal at the end of the file.
  @Test func theNameOfASuperJournalIsTheEnd() throws {
    let directory = try TestDirectory("journal")
    let old = [UInt8](repeating: 7, count: 4000)
    let journal = try used(directory, old)
    try journal.writeAll(header, at: 0)
    try journal.writeAll([UInt8](repeating: 1, count: 100) + magic, at: 512)
    try journal.sync()
    #expect(try journal.file.information().size == 620)
    #expect(try journal.information().size == 620)
  }

  @Test func whoeverTakesTheNameSeesTheFileAsItIs() throws {
    let directory = try TestDirectory("journal")
    let journal = try used(directory, [UInt8](repeating: 7, count: 4000))
    try journal.writeAll([1, 2, 3], at: 0)
    try journal.release()
    #expect(try journal.file.readBytes(100, at: 0) == [1, 2, 3])
    try journal.file.writeAll([4], at: 3)
    #expect(try journal.readBytes(100, at: 0) == [1, 2, 3, 4])
    #expect(journal.visibleSize == nil)
  }
}
