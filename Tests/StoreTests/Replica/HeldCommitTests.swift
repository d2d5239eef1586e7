import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Commits that wait for a majority: nobody sees them before, and the log says what becomes of them.
@Suite(.timeLimit(.minutes(5)))
struct HeldCommitTests {
  static let modes = ["wal", "delete", "truncate", "persist"]

  /// A transaction that is under way on a thread of its own.
  private final class Write: Sendable {
    private let outcome = Mutex<Result<Void, any Error>?>(nil)
    private let done = DispatchSemaphore(value: 0)

    init(_ connection: Connection, _ sql: String) {
      nonisolated(unsafe) let connection = connection
      Thread.detachNewThread { [self] in
        let result = Result { _ = try connection.run(sql) }
        outcome.withLock { $0 = result }
        done.signal()
      }
    }

    var isOver: Bool { outcome.withLock { $0 != nil } }

    func wait() throws {
      try #require(done.wait(timeout: .now() + 20) == .success, "a write does not end")
      try outcome.withLock({ $0 })?.get()
    }
  }

  /// Two of three voters; the third is not there.
  private struct Voters {
    let cluster: RoleTests.Cluster
    let writer: Connection
    let reader: Connection

    init(_ mode: String) throws {
      cluster = try RoleTests.Cluster(voters: ["n0", "n1", "n2"])
      let writer = try cluster.here.connect("a.db")
      self.writer = writer
      let made = Write(writer, "PRAGMA journal_mode=\(mode); CREATE TABLE t(a)")
      let cluster = cluster
      try #require(
        try eventually {
          try cluster.acknowledge()
          return made.isOver
        }
      )
      try made.wait()
      reader = try cluster.here.connect("a.db")
      reader.busyTimeout(0)
      try cluster.follow()
    }

    /// Begins to insert a row, and returns once the log has it.
    func begin(_ row: String) throws -> Write {
      let before = cluster.here.store.log.last.index
      let write = Write(writer, "INSERT INTO t VALUES ('\(row)')")
      let cluster = cluster
      try #require(eventually { cluster.here.store.log.awaitingMajority > 0 })
      #expect(cluster.here.store.log.last.index > before)
      return write
    }

    func expect(_ expected: [String], _ location: SourceLocation = #_sourceLocation) throws {
      var rows: [String]?
      // Between the writer's error and its journal's end the database is locked.
      _ = try eventually {
        rows = try self.rows()
        return rows != nil
      }
      #expect(rows == expected, sourceLocation: location)
    }

    /// Rows as a reader of the primary sees them; those who hold the only lock show nothing.
    func rows() throws -> [String]? {
      do { return try reader.run("SELECT a FROM t").map { $0[0] } } catch let error
        as Connection.Failure
        where error.code & 0xff == 5
      { return nil }
    }
  }

  @Test(arguments: modes)
  func nobodySeesACommitBeforeAMajorityHasIt(mode: String) throws {
    let voters = try Voters(mode)
    let cluster = voters.cluster
    let there = try cluster.connectThere("a.db")
    for round in 0..<5 {
      let write = try voters.begin("\(round)")
      let index = cluster.here.store.log.last.index
      try cluster.ship()
      #expect(try #require(cluster.engines[1]).progress().received == index)
      #expect(try voters.rows().map(\.count) ?? round == round)
      #expect(try there.number("SELECT count(*) FROM t") == round)
      #expect(!write.isOver)
      #expect(cluster.there.store.log.committed < index)
      cluster.here.store.acknowledged(by: "n1", through: index)
      try write.wait()
      #expect(try voters.rows()?.count == round + 1)
      try cluster.follow()
      #expect(try there.number("SELECT count(*) FROM t") == round + 1)
    }
  }

  /// The next primary has the transaction whose writer was told that it failed.
  @Test(arguments: modes)
  func whatAMajorityHadComesBack(mode: String) throws {
    let voters = try Voters(mode)
    let cluster = voters.cluster
    let write = try voters.begin("kept")
    try cluster.ship()
    cluster.here.store.stepDown()
    #expect(throws: Connection.Failure.self) { try write.wait() }
    #expect(try voters.rows() ?? [] == [])
    try cluster.promoteOther()
    try cluster.follow()
    try voters.expect(["kept"])
    #expect(try voters.writer.value("PRAGMA integrity_check") == "ok")
  }

  /// The next primary does not have it; its own next transaction may well write the same.
  @Test(arguments: modes, ["new", "lost"])
  func whatOnlyTheOldPrimaryHadIsNeverSeen(mode: String, next: String) throws {
    let voters = try Voters(mode)
    let cluster = voters.cluster
    let write = try voters.begin("lost")
    cluster.here.store.stepDown()
    #expect(throws: Connection.Failure.self) { try write.wait() }
    #expect(try voters.rows() ?? [] == [])
    try cluster.promoteOther()
    // Whatever becomes of it: reads go on.
    try voters.expect([])
    try cluster.align()
    try cluster.follow()
    try voters.expect([])
    let there = try cluster.connectThere("a.db", onPrimary: true)
    let other = Write(there, "INSERT INTO t VALUES ('\(next)')")
    try #require(
      try eventually {
        try cluster.acknowledge()
        return other.isOver
      }
    )
    try other.wait()
    try cluster.follow()
    try voters.expect([next])
    #expect(try voters.writer.value("PRAGMA integrity_check") == "ok")
  }

  /// The same node is elected again, and nobody else could give it the pages.
  @Test(arguments: modes)
  func whatTheSamePrimaryHadComesBack(mode: String) throws {
    let voters = try Voters(mode)
    let cluster = voters.cluster
    for round in 1...3 {
      let write = try voters.begin("\(round)")
      let store = cluster.here.store
      store.stepDown()
      #expect(throws: Connection.Failure.self) { try write.wait() }
      let engine = try ReplicaEngine(store: store)
      store.follow(engine)
      cluster.term += 1
      let first = try store.open(Term(cluster.term))
      try store.log.syncAndWait(through: first)
      #expect(!engine.isCurrent)
      store.acknowledged(by: "n2", through: first)
      #expect(store.log.committed == first)
      try #require(eventually { engine.isCurrent }, "\(engine.databasesToRepair())")
      try store.becomePrimary(Term(cluster.term))
      #expect(try voters.rows()?.count == round)
      #expect(try voters.writer.value("PRAGMA integrity_check") == "ok")
    }
  }

  /// A node that was the primary starts with a transaction in its log of which it does not know what became.
  @Test(arguments: modes, [true, false])
  func nobodyReadsWhatAStartFindsUndecided(mode: String, isKept: Bool) throws {
    let voters = try Voters(mode)
    let cluster = voters.cluster
    let node = cluster.here
    try node.store.maintain(everything: true)
    let write = try voters.begin("late")
    if isKept { try cluster.ship() }
    node.store.stepDown()
    #expect(throws: Connection.Failure.self) { try write.wait() }
    voters.writer.close()
    voters.reader.close()
    try node.restart(role: .replica)
    try node.store.requireMajority(of: ["n0", "n1", "n2"], own: "n0")
    let engine = try ReplicaEngine(store: node.store)
    try engine.holdUndecided()
    #expect(engine.undecidedDatabases() == ["a.db"])
    let reader = try cluster.connectThere("a.db", onPrimary: true)
    let read = Write(reader, "SELECT count(*) FROM t")
    try cluster.promoteOther(engine)
    #expect(!read.isOver)
    try cluster.align()
    try cluster.follow()
    try read.wait()
    #expect(engine.undecidedDatabases() == [])
    #expect(try reader.run("SELECT a FROM t").map { $0[0] } == (isKept ? ["late"] : []))
    #expect(try reader.value("PRAGMA integrity_check") == "ok")
  }
}
