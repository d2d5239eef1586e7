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

  /// Its connection ended while it asked, which was noted first.
  @Test func nothingIsGivenToWhoIsGone() throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=wal; CREATE TABLE t(a)")
    let store = cluster.primary.store
    let loan = try #require(store.state.withLock { $0.lending }?.loan("a.db"))
    let gone = Lender(node: "n9", store: store) { _ in }
    loan.gaveBack(gone, GrantID(1))
    loan.ask(gone, GrantID(1))
    let database = loan.database
    #expect(eventually { database.lentAt.load(ordering: .acquiring) > 0 })
    #expect(eventually(5) { loan.isOwn })
    try here.run("INSERT INTO t VALUES (1)")
  }

  /// A client of the replica reads, which keeps its node from applying what others write.
  @Test func whoIsBehindAsksAllTheSame() throws {
    let cluster = try ForwardingCluster()
    let here = try cluster.connect("a.db", on: 0)
    try here.run("CREATE TABLE t(a)")
    #expect(cluster.settle())
    let reader = try cluster.connect("a.db", on: 1)
    try reader.run("BEGIN; SELECT * FROM t")
    try here.run("INSERT INTO t VALUES (1)")
    let engine = cluster.engines[0]
    #expect(eventually { engine.isBehind("a.db") })
    let database = try #require(cluster.nodes[1].store.database("a.db"))
    let refused = Mutex(false)
    #expect(engine.borrowing.want(database) { error in refused.withLock { $0 = error != nil } })
    #expect(refused.withLock { $0 })
    let link = cluster.links[0]
    #expect(
      eventually(5) {
        link.requests.withLock { requests in
          requests.contains { if case .ask = $0 { true } else { false } }
        }
      }
    )
    try reader.run("COMMIT")
    try reader.run("INSERT INTO t VALUES (2)")
    #expect(cluster.settle())
  }
}
