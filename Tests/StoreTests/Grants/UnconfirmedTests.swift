import LTX
import Synchronization
import Testing

@testable import Store

/// Transactions of a replica that have come to its log and are not known to be committed.
@Suite(.timeLimit(.minutes(2)))
struct UnconfirmedTests {
  /// The client is told in time, and the log decides.
  @Test(arguments: ForwardingTests.modes)
  func nobodyWaitsForAMajorityForEver(mode: String) throws {
    let cluster = try ForwardingCluster(quorum: true, outcomeSeconds: 0.5)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    try there.run("INSERT INTO t VALUES (1)")
    let link = cluster.links[0]
    link.acknowledges.withLock { $0 = false }
    let start = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try there.run("INSERT INTO t VALUES (2)") }
    #expect(ContinuousClock.now - start < .seconds(20))
    _ = try? there.run("ROLLBACK")
    #expect(cluster.nodes[1].store.log.committed < cluster.nodes[1].store.log.last.index)
    link.acknowledges.withLock { $0 = true }
    link.acknowledge()
    #expect(cluster.settle())
    try there.run("INSERT INTO t VALUES (3)")
    #expect(cluster.settle())
    for connection in [here, there] {
      #expect(try connection.value("SELECT group_concat(a) FROM t") == "1,2,3")
      #expect(try connection.value("PRAGMA integrity_check") == "ok")
    }
  }
}
