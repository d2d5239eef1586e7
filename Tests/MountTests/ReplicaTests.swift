import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Replicas that come late, are paused, cut off or far behind, and what readers see on them.
@Suite(.serialized)
struct ReplicaTests {
  @Test("A snapshot held for a minute holds back nobody", .timeLimit(.minutes(3)))
  func longReader() async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let result = try await Command.python(
        "long_reader.py",
        [nodes[0].mount, nodes[1].mount, "60"]
      )
      #expect(result.isSuccess, "\(result.output.suffix(1000))")
      let numbers = result.output.split(separator: " ").compactMap {
        Double($0.trimmingCharacters(in: .whitespacesAndNewlines))
      }
      try #require(numbers.count == 3, "\(result.output)")
      #expect(numbers[0] >= 3000, "transactions")
      #expect(numbers[1] < 50, "median lag in milliseconds")
      try await expectSameBytes("l.db", nodes)
    }
  }

  @Test("A replica that joins late gets everything, while writes go on", .timeLimit(.minutes(3)))
  func late() async throws {
    try await withCluster(replicas: 0, extra: "") { cluster, nodes in
      let fill = try await Command.sqlite(
        nodes[0].mount + "/big.db",
        """
        pragma journal_mode=wal; create table t(a integer primary key, b blob);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        insert into t select i, randomblob(1000) from n;
        """
      )
      #expect(fill.isSuccess, "\(fill.output)")
      let late = try await cluster.node(2)
      defer { late.discard() }
      async let writes = Command.python(
        "statements.py",
        [nodes[0].mount, cluster.directory + "/plain", "s.db", "wal", "4096", "late", "40"]
      )
      try await late.start()
      let written = try await writes
      #expect(written.isSuccess, "\(written.output.suffix(1000))")
      try await expectSameBytes("big.db", [nodes[0], late])
      try await expectSameBytes("s.db", [nodes[0], late])
      try await late.stop()
    }
  }

  @Test("A replica that was paused catches up", .timeLimit(.minutes(3)))
  func paused() async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      for round in 1...2 {
        nodes[1].signal(SIGSTOP)
        let result = try await Command.python(
          "statements.py",
          [
            nodes[0].mount, cluster.directory + "/plain", "p\(round).db", "delete", "1024",
            "paused\(round)", "40",
          ]
        )
        #expect(result.isSuccess, "\(result.output.suffix(1000))")
        nodes[1].signal(SIGCONT)
        try await expectSameBytes("p\(round).db", nodes)
      }
    }
  }

  @Test("A replica that was cut off catches up", .timeLimit(.minutes(3)))
  func cutOff() async throws {
    try await withCluster(replicas: 0) { cluster, nodes in
      let port = try FreePort.any()
      let replica = try await cluster.node(2, primary: port)
      defer { replica.discard() }
      for round in 1...2 {
        let forward = try Forwarder(from: port, to: cluster.primaryPort)
        if round == 1 { try await replica.start() } else { try await replica.waitUntilReady() }
        let first = try await Command.sqlite(
          nodes[0].mount + "/c.db",
          "create table if not exists t(x); insert into t values(\(round));"
        )
        #expect(first.isSuccess, "\(first.output)")
        try await expectSameBytes("c.db", [nodes[0], replica])
        forward.stop()
        try await Deadline.wait(seconds: 20, for: "the replica to notice") {
          try await !Command.run(["test", "-e", replica.mount + "/.primary"]).isSuccess
        }
        let second = try await Command.sqlite(
          nodes[0].mount + "/c.db",
          "insert into t values(-\(round));"
        )
        #expect(second.isSuccess, "\(second.output)")
      }
      let forward = try Forwarder(from: port, to: cluster.primaryPort)
      defer { forward.stop() }
      try await expectSameBytes("c.db", [nodes[0], replica])
      try await replica.stop()
    }
  }

  @Test(
    "A write on a replica fails as on a read-only database",
    .timeLimit(.minutes(2)),
    arguments: ["wal", "delete"]
  )
  func readOnly(mode: String) async throws {
    try await withCluster(replicas: 1, extra: "write-forwarding: false") { _, nodes in
      let made = try await Command.sqlite(
        nodes[0].mount + "/r.db",
        "pragma journal_mode=\(mode); create table t(x);"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectSameBytes("r.db", nodes)
      for statement in ["insert into t values(1)", "create table u(y)", "vacuum"] {
        let refused = try await Command.sqlite(nodes[1].mount + "/r.db", statement)
        #expect(!refused.isSuccess)
        #expect(refused.output.contains("readonly database"), "\(statement): \(refused.output)")
      }
      let removed = try await Command.run(["rm", nodes[1].mount + "/r.db"])
      #expect(removed.output.contains("Read-only file system"), "\(removed.output)")
      let primary = try await Command.run(["cat", nodes[1].mount + "/.primary"])
      #expect(primary.output == "node1\n")
      let absent = try await Command.run(["test", "-e", nodes[0].mount + "/.primary"])
      #expect(!absent.isSuccess)
      let lag = try await Command.run(["cat", nodes[1].mount + "/.lag"])
      #expect(lag.output.wholeMatch(of: /[+-][0-9]{9}\n/) != nil, "\(lag.output)")
    }
  }

  @Test(
    "A transaction larger than any entry of the log travels in parts",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func largeTransaction(mode: String) async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let fill = try await Command.sqlite(
        nodes[0].mount + "/big.db",
        """
        pragma journal_mode=\(mode); create table t(a integer primary key, b blob);
        begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
        insert into t select i, randomblob(1500) from n; commit;
        delete from t where a % 3 = 0; vacuum;
        """
      )
      #expect(fill.isSuccess, "\(fill.output)")
      try await expectSameBytes("big.db", nodes)
    }
  }
}
