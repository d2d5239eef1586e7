import Foundation
import LTX
import Testing

@testable import Store

/// One operation on the disk fails, each in turn, and the process goes on: SQLite gets an error or the
/// store does without; what is read is whole, and the next start has everything acknowledged.
@Suite(.timeLimit(.minutes(60)), .serialized)
struct FaultTests {
  enum Kind: String, CaseIterable, Sendable {
    case io, full

    var code: StoreError.Code { self == .io ? .system(5) : .full }
  }

  /// A node that is used while something may fail.
  private struct Life {
    let fixture: StoreFixture
    let mode: String
    var acknowledged: Set<Int> = []
    private var connections: [String: Connection] = [:]

    init(_ disk: FaultyDisk, _ mode: String, _ kind: Kind) throws {
      fixture = try StoreFixture(disk: disk) {
        // On a full disk segments that are closed go, and the whole log is needed to compare.
        $0.segmentBytes = kind == .full ? 1 << 20 : 12 << 10
        $0.maxLogBytes = 1 << 20
      }
      self.mode = mode
    }

    /// Row `n` is in the database, or an error was reported.
    mutating func add(_ n: Int, to name: String, bytes: Int = 500) {
      if run(name, "INSERT OR REPLACE INTO t VALUES (\(n), zeroblob(\(bytes)))") {
        acknowledged.insert(n)
      }
    }

    mutating func run(_ name: String, _ sql: String) -> Bool {
      do {
        let connection = try connections[name] ?? fixture.connect(name)
        connections[name] = connection
        connection.busyTimeout(100)
        if !connection.isAutocommit { try connection.run("ROLLBACK") }
        try connection.run(
          "PRAGMA journal_mode=\(mode); CREATE TABLE IF NOT EXISTS t(n UNIQUE, a); \(sql)"
        )
        if try connection.value("PRAGMA integrity_check") != "ok" {
          Issue.record("\(name) is damaged after \(sql)")
        }
        return true
      } catch {
        connections.removeValue(forKey: name)?.close()
        return false
      }
    }

    mutating func close() {
      for connection in connections.values { connection.close() }
      connections = [:]
    }

    mutating func rename(_ source: String, _ target: String) {
      close()
      try? completing {
        fixture.store.rename(source, to: target, noReplace: true, exchange: false, done: $0)
      }
    }

    mutating func drop(_ name: String) {
      close()
      try? completing { fixture.store.remove(FileName(name), done: $0) }
    }
  }

  private func live(_ life: inout Life) {
    for n in 1...3 { life.add(n, to: "a.db", bytes: n * 900) }
    _ = try? life.fixture.store.maintain()
    _ = life.run("a.db", "UPDATE t SET a = zeroblob(2000)")
    _ = life.run("a.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    life.add(4, to: "a.db")
    _ = life.run("a.db", "VACUUM")
    _ = life.run("gone.db", "INSERT INTO t VALUES (100, zeroblob(3000))")
    life.rename("a.db", "c.db")
    life.drop("gone.db")
    _ = try? life.fixture.store.maintain(everything: true)
    life.add(5, to: "c.db", bytes: 5000)
    life.rename("c.db", "a.db")
    life.add(6, to: "a.db")
    _ = try? life.fixture.store.maintain(everything: true)
    life.add(7, to: "a.db", bytes: 10)
  }

  @Test(arguments: ["wal", "delete", "truncate", "persist"], Kind.allCases)
  func eachOperation(mode: String, kind: Kind) throws {
    var step = 0
    var tried = 0
    while true {
      // One after the other in a long run; in a short one a few of them, others for each mode.
      step += CrashEffort.seeds > 1 ? 1 : 5
      let disk = FaultyDisk(seesDirectWrites: true)
      var life = try Life(disk, mode, kind)
      disk.fail(at: step + mode.utf8.count % 5 - 1, torn: step % 2 == 0, code: kind.code)
      live(&life)
      let failures = disk.failures
      disk.heal()
      let what = "\(mode), \(kind), step \(step), \(failures)"
      try expectAcknowledged(life, what)
      life.close()
      tried += 1
      if failures.isEmpty {
        #expect(life.acknowledged == [1, 2, 3, 4, 5, 6, 7], "\(what)")
        break
      }
      try #require(step < 2000)
    }
    print("fault: \(mode), \(kind): \(tried) operations failed")
    #expect(tried > 10)
  }

  private func expectAcknowledged(_ life: Life, _ what: String) throws {
    let logged = life.fixture.store.log.last.index
    let again = try StoreFixture(TestDirectory.copy(of: life.fixture.directory.path)) {
      $0.segmentBytes = 12 << 10
    }
    #expect(again.store.log.last.index >= logged, "\(what)")
    try again.replay.advance(again.store.log)
    #expect(Set(again.store.databases().map(\.name)) == Set(again.replay.images.keys), "\(what)")
    var found: Set<Int> = []
    for (name, image) in again.replay.images {
      #expect(again.position(name) == image.position, "\(what): \(name)")
      #expect(again.store.database(name)?.published.failed == nil, "\(what): \(name)")
      try again.check(name, what)
      guard !image.bytes.isEmpty else { continue }
      let connection = try again.connect(name)
      #expect(try connection.value("PRAGMA integrity_check") == "ok", "\(what): \(name)")
      guard try connection.number("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == 1 else {
        continue
      }
      found.formUnion(try connection.run("SELECT n FROM t").compactMap { Int($0[0]) })
    }
    #expect(life.acknowledged.isSubset(of: found), "\(what): \(life.acknowledged), found \(found)")
  }
}
