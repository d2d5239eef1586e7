import Foundation
import Testing

/// Applications write on any node, as if it were the only one.
@Suite(.serialized)
struct ForwardingTests {
  private static let modes = ["wal", "delete"]

  /// Makes a database with one table on the first node, and waits until all have it.
  private func make(_ nodes: [Node], _ mode: String) async throws {
    let made = try await Command.sqlite(
      nodes[0].mount + "/a.db",
      "pragma journal_mode=\(mode); create table t(node, x)"
    )
    #expect(made.isSuccess, "\(made.output)")
    try await expectSameBytes("a.db", nodes)
  }

  /// Runs a script on the database of a fixed primary and two replicas.
  private func onThreeNodes(_ script: String, _ mode: String) async throws {
    try await withCluster(replicas: 2) { _, nodes in
      try await make(nodes, mode)
      let result = try await Command.python(script, ["a.db"] + nodes.map(\.mount), seconds: 100)
      #expect(result.isSuccess, "\(result.output.suffix(2000)) \(nodes.map(\.report))")
      try await expectSameBytes("a.db", nodes)
    }
  }

  @Test("A replica of a fixed primary writes", .timeLimit(.minutes(3)), arguments: modes)
  func replicaWrites(mode: String) async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let (here, there) = (nodes[0].mount + "/a.db", nodes[1].mount + "/a.db")
      // The replica makes the database.
      let made = try await Command.sqlite(
        there,
        "pragma journal_mode=\(mode); create table t(x); insert into t values(1)"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectSameBytes("a.db", nodes)
      for statement in [
        "insert into t values(2)", "begin immediate; insert into t values(3); commit",
        "create table u(y); insert into u values(1)", "alter table t add column z", "vacuum",
      ] {
        for database in [there, here] {
          let done = try await Command.sqlite(
            database,
            database == here ? "update t set x = x + 10" : statement
          )
          #expect(done.isSuccess, "\(statement): \(done.output) \(nodes[1].log.suffix(1000))")
        }
      }
      try await expectSameBytes("a.db", nodes)
      let sum = try await Command.sqlite(here, "select sum(x), count(*) from t")
      #expect(sum.output == "146|3\n")
      let checked = try await Command.sqlite(there, "pragma integrity_check")
      #expect(checked.output == "ok\n")
    }
  }

  @Test(
    "All nodes write the same database",
    .timeLimit(.minutes(3)),
    arguments: modes,
    ["async", "quorum"]
  )
  func everywhere(mode: String, sync: String) async throws {
    try await withVoters(ttl: "2s", sync: sync) { _, nodes in
      try await make(nodes, mode)
      let result = try await Command.python(
        "everywhere.py",
        ["5", "a.db"] + nodes.map(\.mount),
        seconds: 60
      )
      #expect(result.isSuccess, "\(result.output.suffix(2000))")
      print("\(mode), \(sync): \(result.output)")
      try await expectSameBytes("a.db", nodes)
    }
  }

  @Test(
    "A lock on byte 72 of the -lock file keeps the right to write",
    .timeLimit(.minutes(3)),
    arguments: modes
  )
  func grantLock(mode: String) async throws {
    try await onThreeNodes("halt.py", mode)
  }

  @Test(
    "The right to write ends with the client that has it",
    .timeLimit(.minutes(3)),
    arguments: modes
  )
  func killedClients(mode: String) async throws {
    try await onThreeNodes("gone.py", mode)
  }
}
