import Foundation
import Synchronization
import Testing

@testable import Store

/// Writers at work are never taken for damage.
@Suite(.timeLimit(.minutes(5)))
struct ScrubStressTests {
  @Test(
    arguments: ["delete", "persist", "truncate", "wal", "memory", "off"],
    ["normal", "exclusive"]
  )
  func noFalseAlarm(mode: String, locking: String) throws {
    let fixture = try StoreFixture()
    let scrubber = Scrubber(store: fixture.store, interval: 0)
    let failure = Mutex<String?>(nil)
    let isDone = Atomic(false)
    let ended = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      do {
        while !isDone.load(ordering: .relaxed) { try scrubber.pass() }
      } catch { failure.withLock { $0 = "\(error)" } }
      ended.signal()
    }
    var random = SeededRandom(11)
    let writer = try fixture.connect("a.db")
    try writer.run(
      "PRAGMA page_size=512; PRAGMA locking_mode=\(locking); PRAGMA journal_mode=\(mode);"
        + "PRAGMA cache_size=4; PRAGMA wal_autocheckpoint=20; PRAGMA auto_vacuum=0;"
        + "CREATE TABLE t(a INTEGER PRIMARY KEY, b)"
    )
    let end = Date(timeIntervalSinceNow: 2)
    while Date() < end {
      let statement =
        switch random.below(6) {
        case 0: "DELETE FROM t WHERE a % \(2 + random.below(5)) = 0"
        case 1: "UPDATE t SET b = hex(randomblob(\(random.below(300))))"
        case 2: "VACUUM"
        case 3 where mode != "off": "BEGIN; UPDATE t SET b = b || 'x'; ROLLBACK"
        default:
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) "
            + "INSERT INTO t(b) SELECT hex(randomblob(100)) FROM n"
        }
      try writer.run(statement)
    }
    writer.close()
    isDone.store(true, ordering: .relaxed)
    #expect(ended.wait(timeout: .now() + 60) == .success)
    #expect(failure.withLock { $0 } == nil)
    try scrubber.pass()
    #expect(scrubber.progress.damagedPages == 0, "\(mode) \(locking)")
    #expect(scrubber.progress.scrubbedPages > 100)
    #expect(scrubber.progress.passes > 2)
    try fixture.check("a.db", "the writer")
  }
}
