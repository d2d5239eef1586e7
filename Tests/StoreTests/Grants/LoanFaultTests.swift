import LTX
import Synchronization
import Testing

@testable import Store

/// What goes wrong on the primary while a replica writes.
@Suite(.timeLimit(.minutes(2)))
struct LoanFaultTests {
  /// The main file could not be written; the next attempt succeeds, and nothing is left of it.
  @Test(arguments: ["delete", "truncate"])
  func aWriteThatFailedOnceIsMadeGood(mode: String) throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    try there.run("INSERT INTO t VALUES (1)")
    #expect(cluster.settle())
    let disk = try #require(cluster.primary.disk as? FaultyDisk)
    disk.fail([.write], at: 1, torn: true, path: "files/a.db")
    try there.run("INSERT INTO t VALUES (2)")
    #expect(eventually { !disk.failures.isEmpty })
    #expect(cluster.settle())
    #expect(cluster.primary.store.database("a.db")?.published.failed == nil)
    let next = try cluster.connect("a.db", on: 0)
    try next.run("INSERT INTO t VALUES (3)")
    try there.run("INSERT INTO t VALUES (4)")
    #expect(cluster.settle())
    for connection in [here, next, there] {
      #expect(try connection.value("SELECT group_concat(a) FROM t") == "1,2,3,4")
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }
}
