import Foundation
import LTX
import Testing

@testable import Store

/// Databases that came into the tree while the node did not run, and files that lie.
@Suite(.timeLimit(.minutes(15)))
struct AdoptionTests {
  /// A database as an application that was killed leaves it, in a directory of its own.
  private func killed(_ mode: String, _ directory: TestDirectory) throws {
    let path = directory.path + "/a.db"
    let live = try TestDirectory("live")
    let connection = try Connection(live.path + "/a.db")
    try connection.run(
      "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); PRAGMA wal_autocheckpoint=3; "
        + "CREATE TABLE t(a); PRAGMA cache_size=2"
    )
    for n in 0..<20 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(\(n * 50))))") }
    try connection.run("BEGIN; UPDATE t SET a = 'undone' || a; DELETE FROM t WHERE rowid < 5")
    for suffix in ["", "-wal", "-shm", "-journal"] {
      guard FileManager.default.fileExists(atPath: live.path + "/a.db" + suffix) else { continue }
      try FileManager.default.copyItem(
        atPath: live.path + "/a.db" + suffix,
        toPath: path + suffix
      )
    }
  }

  @Test(arguments: ["wal", "delete", "persist"]) func adopts(mode: String) throws {
    let directory = try TestDirectory("adopt")
    let files = directory.path + "/files/deep/er"
    try FileManager.default.createDirectory(atPath: files, withIntermediateDirectories: true)
    let source = try TestDirectory("source")
    try killed(mode, source)
    for name in try FileManager.default.contentsOfDirectory(atPath: source.path) {
      try FileManager.default.copyItem(
        atPath: source.path + "/" + name,
        toPath: files + "/" + name
      )
    }
    try write(Array("SQLite format 3, they say".utf8), toFile: files + "/short.db")
    try write([], toFile: files + "/empty.db")
    try write([UInt8](repeating: 7, count: 5000), toFile: files + "/b.db-wal")
    let fixture = try StoreFixture(directory)
    #expect(fixture.store.databases().map(\.name) == ["deep/er/a.db"])
    try fixture.check("deep/er/a.db", "adoption")
    let connection = try fixture.connect("deep/er/a.db")
    #expect(try connection.number("SELECT count(*) FROM t") == 20)
    #expect(try connection.number("SELECT count(*) FROM t WHERE a LIKE 'undone%'") == 0)
    #expect(try connection.value("PRAGMA integrity_check") == "ok")
    try connection.run("INSERT INTO t VALUES (1)")
    try fixture.check("deep/er/a.db", "the next transaction")
  }

  /// Journals and logs that lie: an error or another content, never a trap.
  @Test(arguments: ["wal", "delete", "persist"]) func damagedCompanions(mode: String) throws {
    let source = try TestDirectory("source")
    try killed(mode, source)
    let suffix = mode == "wal" ? "-wal" : "-journal"
    let whole = try bytes(ofFile: source.path + "/a.db" + suffix)
    var random = SeededRandom(4)
    for round in 0..<60 {
      var damaged = whole
      for _ in 0...random.below(4) {
        // Headers are what decides most.
        let at = random.below(random.below(2) == 0 ? 64 : damaged.count)
        damaged[at] = UInt8(truncatingIfNeeded: random.next())
      }
      if round % 5 == 4 { damaged.removeLast(random.below(damaged.count)) }
      // A size that no disk has is refused by the system; the test need not make it.
      if mode != "wal", damaged.count >= 20 { damaged[16] = 0 }
      let directory = try TestDirectory("adopt")
      try FileManager.default.createDirectory(
        atPath: directory.path + "/files",
        withIntermediateDirectories: true
      )
      try FileManager.default.copyItem(
        atPath: source.path + "/a.db",
        toPath: directory.path + "/files/a.db"
      )
      try write(damaged, toFile: directory.path + "/files/a.db" + suffix)
      do {
        let fixture = try StoreFixture(directory)
        // A journal that lies about the size leaves pages behind the end, as with SQLite.
        try fixture.replay.advance(fixture.store.log)
        let logged = fixture.replay.images["a.db"]?.bytes ?? []
        let image = try CommittedImage(path: fixture.path("a.db")).bytes
        #expect(image.prefix(logged.count) == logged[...], "round \(round)")
      } catch let error as StoreError {
        #expect(!error.message.isEmpty)
      }
    }
  }

  /// The same while SQLite ends such a journal, with a freelist that runs in a circle.
  @Test func damagedFreelist() throws {
    let fixture = try StoreFixture()
    let connection = try fixture.connect("a.db")
    try connection.run("PRAGMA journal_mode=DELETE; CREATE TABLE t(a); CREATE TABLE u(a)")
    for _ in 0..<20 { try connection.run("INSERT INTO t VALUES (hex(zeroblob(3000)))") }
    try connection.run("DROP TABLE t")
    connection.close()
    try fixture.check("a.db", "before")
    let file = try fixture.store.open(FileName("a.db"), [.write])
    let head = try file.file.readBytes(40, at: 0)
    let trunk = head.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 32) }
    var circle: [UInt8] = []
    circle.appendBigEndian(trunk)
    circle.appendBigEndian(UInt32.max)
    try file.file.writeAll(circle, at: Int64(trunk - 1) * 4096)
    try file.file.writeAll([0xff, 0xff, 0xff, 0xff], at: 36)
    try completing { fixture.store.close(file, wrote: true, done: $0) }
    let again = try fixture.connect("a.db")
    _ = try? again.run("INSERT INTO u VALUES (hex(zeroblob(2)))")
    again.close()
    try fixture.check("a.db", "a damaged freelist")
  }

  /// Another journal's super-journal, a directory in a file's place, and names that end oddly.
  @Test func oddNames() throws {
    let fixture = try StoreFixture()
    try FileManager.default.createDirectory(
      atPath: fixture.path("d.db-journal"),
      withIntermediateDirectories: true
    )
    let long = String(repeating: "ü", count: 100) + ".db"
    for name in ["-wal", "a-wal-wal", "x-journal-shm", long, "sp ace%.db"] {
      let connection = try? fixture.connect(name)
      _ = try? connection?.run("CREATE TABLE t(a)")
    }
    try fixture.check(long, "a long name")
    try fixture.check("sp ace%.db", "a name with a space")
    _ = try StoreFixture(TestDirectory.copy(of: fixture.directory.path))
  }
}
