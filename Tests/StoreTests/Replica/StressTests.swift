import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Writers, readers, shipping, housekeeping, snapshots and repairs, all at the same time.
@Suite(.timeLimit(.minutes(15)))
struct StressTests {
  /// Problems that any thread met, and whether all are to end.
  private final class Shared: Sendable {
    let problems = Mutex<[String]>([])
    let ended = Atomic(false)
    let reads = Atomic(0)
    var goesOn: Bool { !ended.load(ordering: .relaxed) }
    func note(_ problem: String) { problems.withLock { $0.append(problem) } }
  }

  /// Money moves between accounts, so that the sum never changes, and a counter only grows.
  private func write(_ path: String, _ vfs: ShimVFS, _ shared: Shared, seed: UInt64) {
    var random = SeededRandom(seed)
    do {
      let connection = try Connection(path, vfs: vfs)
      connection.busyTimeout(60_000)
      while shared.goesOn {
        let (a, b, v) = (random.below(50), random.below(50), random.below(1000))
        try connection.run(
          "BEGIN IMMEDIATE; UPDATE account SET v = v - \(v) WHERE id = \(a); "
            + "UPDATE account SET v = v + \(v), note = hex(zeroblob(\(random.below(300)))) "
            + "WHERE id = \(b); UPDATE version SET n = n + 1; COMMIT"
        )
        if random.below(40) == 0 {
          try connection.run(
            "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS extra(a); "
              + "INSERT INTO extra VALUES (zeroblob(20000)); COMMIT"
          )
        }
        if random.below(60) == 0 { try connection.run("DROP TABLE IF EXISTS extra") }
      }
    } catch { shared.note("writer: \(error)") }
  }

  private func read(
    _ name: String,
    _ vfs: ShimVFS,
    _ tree: String,
    _ shared: Shared,
    long: Bool
  ) {
    var newest = -1
    while shared.goesOn {
      do {
        let connection = try Connection(tree + "/" + name, vfs: vfs, readOnly: true)
        connection.busyTimeout(60_000)
        for _ in 0..<10 where shared.goesOn {
          try connection.run("BEGIN")
          let version = try connection.number("SELECT n FROM version")
          for _ in 0..<(long ? 20 : 1) {
            let sum = try connection.number("SELECT sum(v) FROM account")
            let again = try connection.number("SELECT n FROM version")
            if sum != 0 { shared.note("reader of \(name): the sum is \(sum)") }
            if again != version { shared.note("reader of \(name): \(version) became \(again)") }
          }
          try connection.run("COMMIT")
          if version < newest { shared.note("reader of \(name): \(version) after \(newest)") }
          newest = version
          shared.reads.add(1, ordering: .relaxed)
        }
      } catch let error as Connection.Failure {
        shared.note("reader of \(name): \(error)")
        return
      } catch { return }
    }
  }

  @Test(arguments: ["wal", "delete"]) func everythingAtOnce(mode: String) throws {
    let pair = try PairFixture(seed: 6)
    let names = ["a.db", "b.db"]
    for name in names {
      let connection = try pair.primary.connect(name)
      try connection.run(
        "PRAGMA page_size=1024; PRAGMA journal_mode=\(mode); "
          + "CREATE TABLE account(id INTEGER PRIMARY KEY, v, note); CREATE TABLE version(n); "
          + "INSERT INTO version VALUES (0); WITH RECURSIVE n(i) AS "
          + "(SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49) "
          + "INSERT INTO account SELECT i, 0, '' FROM n"
      )
    }
    try pair.follow()
    let held = try names.map { try pair.read($0) }
    let shared = Shared()
    let group = DispatchGroup()
    let (primary, replica) = (pair.primary.store, pair.replica.store)
    let (writing, reading) = (pair.primary.vfs, pair.replica.vfs)
    func start(_ body: @escaping @Sendable () -> Void) {
      group.enter()
      Thread {
        body()
        group.leave()
      }.start()
    }
    for (number, name) in names.enumerated() {
      for writer in 0..<2 {
        start {
          write(primary.tree + "/" + name, writing, shared, seed: UInt64(number * 10 + writer))
        }
      }
      for long in [false, true] {
        start { read(name, reading, replica.tree, shared, long: long) }
      }
    }
    start {
      while shared.goesOn {
        do {
          try primary.maintain()
          try replica.maintain()
        } catch { shared.note("maintenance: \(error)") }
        usleep(20_000)
      }
    }
    let deadline = Date(timeIntervalSinceNow: 12)
    var rounds = 0
    while Date() < deadline {
      try pair.ship()
      rounds += 1
      if rounds % 40 == 0 {
        try pair.engine.markForRepair(["a.db"])
        try pair.repair(maxBytes: 4096) { try pair.ship() }
      }
    }
    shared.ended.store(true, ordering: .relaxed)
    group.wait()
    #expect(shared.problems.withLock { Array(Set($0).prefix(5)) } == [])
    #expect(shared.reads.load(ordering: .relaxed) > 20)
    try pair.follow("everything at once")
    for name in names {
      try pair.primary.check(name, "everything at once")
      #expect(try pair.read(name).value("PRAGMA integrity_check") == "ok")
    }
    withExtendedLifetime(held) {}
    #expect(pair.recoveries == 0)
  }
}
