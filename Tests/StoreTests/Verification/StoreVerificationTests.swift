import Foundation
import LTX
import Testing

@testable import Store

/// Examinations of a stopped node's files: what is sound is called so, what is damaged is named, and
/// nothing is changed.
@Suite(.timeLimit(.minutes(5)))
struct StoreVerificationTests {
  private typealias Finding = VerificationFinding

  private func fill(_ fixture: StoreFixture, _ mode: String = "delete") throws {
    for name in ["a.db", "b.db"] {
      let connection = try fixture.connect(name)
      try connection.run(
        "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
          + "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
          + "INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n; UPDATE t SET b = 'x' WHERE a = 7"
      )
    }
  }

  /// Examines a copy, and checks that it is left as it was.
  private func examine(_ directory: TestDirectory) throws -> [Finding] {
    let before = try directory.files()
    var verification = StoreVerification(
      StoreConfiguration(directory: directory.path),
      disk: SystemDisk()
    )
    let findings = try verification.run()
    #expect(try directory.files() == before, "an examination changes nothing")
    for finding in findings where finding.level != .sound { #expect(finding.remedy != nil) }
    return findings
  }

  private func stopped(_ mode: String = "delete") throws -> TestDirectory {
    let fixture = try StoreFixture()
    try fill(fixture, mode)
    try fixture.store.shutDown()
    return try TestDirectory.copy(of: fixture.directory.path)
  }

  private func level(_ findings: [Finding], _ subject: String) -> Finding.Level? {
    findings.first { $0.subject == subject }?.level
  }

  @Test(arguments: ["wal", "delete", "persist", "off"]) func aStoppedNodeIsSound(mode: String)
    throws
  {
    let findings = try examine(try stopped(mode))
    #expect(findings.map(\.subject) == ["state", "log", "database a.db", "database b.db"])
    #expect(findings.allSatisfy { $0.level == .sound }, "\(findings)")
  }

  @Test(arguments: ["wal", "delete", "persist", "truncate"])
  func aKilledNodeIsSound(mode: String) throws {
    let fixture = try StoreFixture()
    try fill(fixture, mode)
    try fixture.store.maintain()
    let writer = try fixture.connect("a.db")
    try writer.run("UPDATE t SET b = 'later' WHERE a % 2 = 0; DROP TABLE t; CREATE TABLE t(a)")
    try writer.run(
      "PRAGMA cache_size=3; BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        + "WHERE i < 300) INSERT INTO t SELECT hex(randomblob(200)) FROM n"
    )
    let copy = try TestDirectory.copy(of: fixture.directory.path)
    let findings = try examine(copy)
    #expect(findings.allSatisfy { $0.level != .damaged }, "\(findings)")
    #expect(level(findings, "database b.db") == .sound)
    // The next start agrees.
    let again = try StoreFixture(copy)
    #expect(again.store.allDatabases.allSatisfy { $0.published.failed == nil })
  }

  @Test func aDamagedPageIsNamed() throws {
    let copy = try stopped()
    try flip(copy.path + "/files/a.db", at: 20 * 1024 + 500)
    let findings = try examine(copy)
    #expect(level(findings, "database a.db") == .damaged)
    #expect(findings.contains { $0.value.contains("pages 21 of") }, "\(findings)")
    #expect(level(findings, "database b.db") == .sound && level(findings, "log") == .sound)
  }

  @Test func aMissingOrShortFile() throws {
    let copy = try stopped()
    try FileManager.default.removeItem(atPath: copy.path + "/files/a.db")
    let whole = try bytes(ofFile: copy.path + "/files/b.db")
    try write(Array(whole.dropLast(1024)), toFile: copy.path + "/files/b.db")
    let findings = try examine(copy)
    #expect(level(findings, "database a.db") == .damaged)
    #expect(level(findings, "database b.db") == .damaged)
  }

  @Test func damagedRecordsAndChecksums() throws {
    let copy = try stopped()
    let state = copy.path + "/state/"
    let files = try FileManager.default.contentsOfDirectory(atPath: state).sorted()
    let record = try #require(files.first { $0.hasSuffix(".db") })
    let sums = try #require(files.last { $0.hasSuffix(".sums") })
    try flip(state + record, at: 30)
    try flip(state + sums, at: 81)
    try flip(state + "redo", at: 3)
    let findings = try examine(copy)
    #expect(findings.contains { $0.subject == "state" && $0.value.contains(record) })
    #expect(findings.contains { $0.subject == "state" && $0.value.contains("redo") })
    #expect(
      findings.contains { $0.level == .damaged && $0.value.contains("do not add up") },
      "\(findings)"
    )
  }

  /// Every byte of the log counts: none can be changed without a word.
  @Test func everyByteOfTheLog() throws {
    let fixture = try StoreFixture()
    try fixture.connect("a.db").run("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
    try fixture.store.shutDown()
    let copy = try TestDirectory.copy(of: fixture.directory.path)
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: copy.path + "/log").first
    )
    let path = copy.path + "/log/" + name
    let whole = try bytes(ofFile: path)
    for at in stride(from: 0, to: whole.count, by: 3) {
      var damaged = whole
      damaged[at] ^= 0x10
      try write(damaged, toFile: path)
      let findings = try examine(copy)
      #expect(findings.contains { $0.subject == "log" && $0.level == .damaged }, "byte \(at)")
    }
    try write(whole, toFile: path)
    #expect(try examine(copy).allSatisfy { $0.level == .sound })
  }

  /// A crash may tear the last entry; what is torn there was not durable.
  ///
  /// - Parameter zeros: what had been written ahead is behind it.
  @Test(arguments: [0, 5000]) func aTornEndIsNoDamage(zeros: Int) throws {
    let fixture = try StoreFixture()
    try fill(fixture)
    try fixture.store.maintain(everything: true)
    try fixture.connect("a.db").run("INSERT INTO t VALUES (1000, 'more')")
    let copy = try TestDirectory.copy(of: fixture.directory.path)
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: copy.path + "/log").first
    )
    let path = copy.path + "/log/" + name
    let entries = try bytes(ofFile: path).prefix(Int(fixture.store.log.usage().bytes))
    let room = [UInt8](repeating: 0, count: zeros)
    try write(Array(entries.dropLast(5)) + room, toFile: path)
    let findings = try examine(copy)
    #expect(level(findings, "log") == .notable, "\(findings)")
    try write(Array(entries) + room, toFile: path)
    #expect(level(try examine(copy), "log") == .sound)
  }

  @Test func aTransactionThatDoesNotFollow() throws {
    let fixture = try StoreFixture()
    try fill(fixture)
    // What the log has of another life of the database.
    try fixture.store.log.forEach(after: .zero, through: fixture.store.log.last.index) {
      (entry) throws(StoreError) in
      guard entry.kind == .transaction, entry.id.index < LogIndex(4) else { return }
      _ = try fixture.store.log.append(.transaction, database: "a.db", bytes: Array(entry.payload))
    }
    _ = try fixture.store.log.append(.transaction, database: "b.db", bytes: [1, 2, 3])
    let copy = try TestDirectory.copy(of: fixture.directory.path)
    let findings = try examine(copy)
    #expect(findings.contains { $0.level == .damaged && $0.value.contains("follows") })
    #expect(findings.contains { $0.level == .damaged && $0.value.contains("no valid transaction") })
  }

  @Test func anEmptyDirectory() throws {
    let findings = try examine(try TestDirectory("empty"))
    #expect(findings.count == 1 && findings[0].level == .notable)
  }

  @Test func nothingCanBeWrittenThroughIt() throws {
    let directory = try TestDirectory("readonly")
    try write([1], toFile: directory.path + "/x")
    let disk = ReadOnlyDisk(disk: SystemDisk())
    #expect(throws: StoreError.self) { try disk.remove(directory.path + "/x") }
    #expect(throws: StoreError.self) { try disk.open(directory.path + "/y", [.write, .create]) }
    let file = try disk.open(directory.path + "/x", [.write])
    #expect(throws: StoreError.self) { try file.truncate(to: 0) }
    #expect(try bytes(ofFile: directory.path + "/x") == [1])
  }

  @Test func aDirectoryIsOneProcessesOwn() throws {
    let directory = try TestDirectory("lock")
    #expect(try DirectoryLock.take(directory.path, making: false) == nil)
    var lock = try DirectoryLock.take(directory.path, making: true)
    let error = #expect(throws: StoreError.self) {
      _ = try DirectoryLock.take(directory.path, making: false)
    }
    #expect(error?.code == .busy && lock != nil)
    lock = nil
    #expect(try DirectoryLock.take(directory.path, making: false) != nil)
  }
}
