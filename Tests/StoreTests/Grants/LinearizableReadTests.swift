import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Readers that see all that was committed when they began.
@Suite(.timeLimit(.minutes(3)))
struct LinearizableReadTests {
  @Test(arguments: ForwardingTests.ways)
  func everyReadSeesWhatWasCommittedBefore(mode: String, quorum: Bool) throws {
    let cluster = try ForwardingCluster(replicas: 2, quorum: quorum, reads: .linearizable)
    let maker = try cluster.connect("a.db", on: 0)
    try maker.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(n)")
    #expect(cluster.settle())
    let connections = [
      maker, try cluster.connect("a.db", on: 1), try cluster.connect("a.db", on: 2),
    ]
    var random = SeededRandom(3)
    for n in 0..<60 {
      // Mostly the primary, whose commits cost a replica nothing before it reads.
      let writer = random.below(4) == 0 ? 1 + random.below(2) : 0
      try connections[writer].run("INSERT INTO t VALUES (\(n))")
      for reader in connections {
        #expect(try reader.number("SELECT count(*) FROM t") == n + 1, "row \(n) of node \(writer)")
      }
    }
  }

  /// The reader waits for what is under way to its node.
  @Test(arguments: ["wal", "delete"])
  func aReaderWaitsForWhatIsCommitted(mode: String) throws {
    let cluster = try ForwardingCluster(reads: .linearizable)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=\(mode); CREATE TABLE t(n)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    #expect(try there.number("SELECT count(*) FROM t") == 0)
    cluster.links[0].pause()
    try here.run("INSERT INTO t VALUES (1)")
    let seen = Mutex<Int?>(nil)
    nonisolated(unsafe) let reader = there
    DispatchQueue(label: "test.read").async {
      let count = (try? reader.number("SELECT count(*) FROM t")) ?? -1
      seen.withLock { $0 = count }
    }
    #expect(!eventually(0.3) { seen.withLock { $0 != nil } })
    cluster.links[0].resume()
    #expect(eventually { seen.withLock { $0 != nil } })
    #expect(seen.withLock { $0 } == 1)
  }

  /// A writer that starts the write-ahead log over takes a read mark in the midst of its transaction, and is not kept
  /// waiting there.
  @Test func aWriterDoesNotWaitForItself() throws {
    let cluster = try ForwardingCluster(reads: .linearizable)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=wal; CREATE TABLE t(n); PRAGMA wal_checkpoint(PASSIVE)")
    try here.run("BEGIN IMMEDIATE")
    cluster.primary.store.log.setLease { false }
    let start = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try here.run("INSERT INTO t VALUES (1); COMMIT") }
    #expect(ContinuousClock.now - start < .seconds(2))
  }

  /// A node that cannot ask the primary lets nobody read.
  @Test func nobodyReadsWithoutThePrimary() throws {
    let cluster = try ForwardingCluster(reads: .linearizable)
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=delete; CREATE TABLE t(n); INSERT INTO t VALUES (1)")
    #expect(cluster.settle())
    let there = try cluster.connect("a.db", on: 1)
    there.busyTimeout(0)
    #expect(try there.number("SELECT count(*) FROM t") == 1)
    cluster.disconnect()
    #expect(throws: Connection.Failure.self) { try there.run("SELECT count(*) FROM t") }
    // Whoever comes next is told at once.
    let start = ContinuousClock.now
    #expect(throws: Connection.Failure.self) { try there.run("SELECT count(*) FROM t") }
    #expect(ContinuousClock.now - start < .seconds(1))
    cluster.connect()
    #expect(eventually { (try? there.number("SELECT count(*) FROM t")) == 1 })
    // Nor does a primary whose lease is over.
    cluster.primary.store.log.setLease { false }
    here.busyTimeout(0)
    #expect(throws: Connection.Failure.self) { try here.run("SELECT count(*) FROM t") }
  }

  @Test func staleReadsAreRefused() throws {
    let cluster = try ForwardingCluster(reads: .local(maxStaleness: 1000))
    let here = try cluster.connect("a.db", on: 0)
    try here.run("PRAGMA journal_mode=delete; CREATE TABLE t(n); INSERT INTO t VALUES (1)")
    #expect(cluster.settle())
    let replica = cluster.nodes[1]
    let clock = replica.clock
    let heard = clock.milliseconds
    replica.store.setStanding { Store.Standing(primary: "n0", lagMilliseconds: 0, heard: heard) }
    let there = try cluster.connect("a.db", on: 1)
    there.busyTimeout(0)
    #expect(try there.number("SELECT count(*) FROM t") == 1)
    clock.advance(1500)
    #expect(throws: Connection.Failure.self) { try there.run("SELECT count(*) FROM t") }
    replica.store.setStanding {
      Store.Standing(primary: "n0", lagMilliseconds: 0, heard: heard + 1500)
    }
    #expect(try there.number("SELECT count(*) FROM t") == 1)
    #expect(try here.number("SELECT count(*) FROM t") == 1)
  }
}
