import Foundation
import Testing

/// Transactions that are half written when the daemon is killed, in the ways that are not a plain
/// journal or write-ahead log.
@Suite(.serialized)
struct CommitCrashTests {
  @Test("A transaction is half written", .timeLimit(.minutes(5)))
  func halfWritten() async throws {
    try await withCluster(replicas: 1) { _, nodes in
      for mode in ["delete", "truncate", "persist", "wal"] {
        for locking in ["normal", "exclusive"] {
          let name = "\(mode)-\(locking).db"
          let path = nodes[0].mount + "/" + name
          let written = try await Command.python(
            "half.py",
            ["write", path, mode, locking, "\(nodes[0].processIdentifier)"]
          )
          #expect(written.isSuccess, "\(written.output)")
          try await nodes[0].crash()
          try await nodes[0].start()
          let found = try await Command.python("half.py", ["check", path])
          #expect(found.isSuccess, "\(name): \(found.output)")
          try await nodes[1].waitUntilReady()
          try await expectSameBytes(name, nodes)
        }
      }
    }
  }

  /// The first removal is that of the super-journal, which commits; those of the journals follow.
  @Test("Between a super-journal and its journals", .timeLimit(.minutes(5)))
  func superJournal() async throws {
    let names = ["a.db", "b.db", "c.db"]
    try await withCluster(replicas: 1) { _, nodes in
      let mount = nodes[0].mount
      for name in names {
        let made = try await Command.sqlite(mount + "/" + name, "create table t(x);")
        #expect(made.isSuccess, "\(made.output)")
      }
      let statements = """
        attach 'b.db' as b; attach 'c.db' as c; begin; insert into main.t values(zeroblob(9000));
        insert into b.t values(zeroblob(9000)); insert into c.t values(zeroblob(9000)); commit;
        """
      var counts = [0]
      for number in 1...4 {
        let killed = try await Command.run(
          [
            "strace", "-qq", "-o", "/dev/null", "-e", "trace=unlink", "-e",
            "inject=unlink:signal=KILL:when=\(number)", "sqlite3", "-bail", "a.db", statements,
          ],
          directory: mount
        )
        #expect(!killed.isSuccess)
        try await nodes[0].crash()
        try await nodes[0].start()
        let listed = try await Command.run(["ls", mount])
        #expect(!listed.output.contains("-mj"), "\(listed.output)")
        let count = try await Command.sqlite(
          mount + "/a.db",
          """
          attach '\(mount)/b.db' as b; attach '\(mount)/c.db' as c;
          select count(*) from main.t union select count(*) from b.t union select count(*) from c.t;
          """
        )
        // One number: all three have the transaction, or none has it.
        let found = try #require(
          Int(count.output.trimmingCharacters(in: .whitespacesAndNewlines)),
          "removal \(number): \(count.output)"
        )
        counts.append(found)
        try await nodes[1].waitUntilReady()
        for name in names { try await expectSameBytes(name, nodes) }
      }
      // Each signal comes before its removal is made: the first one leaves the transaction uncommitted.
      #expect(counts == [0, 0, 1, 2, 3])
    }
  }

  /// With passthrough its writes reach the file it has open, whatever became of the daemon.
  @Test(
    "A client outlives the daemon",
    .timeLimit(.minutes(3)),
    arguments: [("delete", false), ("wal", false), ("wal", true)]
  )
  func outliving(mode: String, passesLogs: Bool) async throws {
    try await withCluster(replicas: 1, passesLogs: passesLogs) { _, nodes in
      let path = nodes[0].mount + "/a.db"
      async let client = Command.python(
        "outlive.py",
        [path, mode, "\(nodes[0].processIdentifier)"],
        seconds: 100
      )
      _ = try await nodes[0].waitForEnd(seconds: 60)
      try await nodes[0].start()
      let result = try await client
      #expect(result.isSuccess, "\(result.output)")
      #expect(nodes[0].report.contains("it keeps the old file"))
      try await nodes[1].waitUntilReady()
      try await expectSameBytes("a.db", nodes)
    }
  }

  @Test("A replica joins while a client keeps the database to itself", .timeLimit(.minutes(2)))
  func joining() async throws {
    try await withCluster(replicas: 0) { cluster, nodes in
      let path = nodes[0].mount + "/a.db"
      let made = try await Command.sqlite(
        path,
        "create table t(a integer primary key, b); insert into t values(1, zeroblob(300000));"
      )
      #expect(made.isSuccess, "\(made.output)")
      let replica = try await cluster.node(2)
      defer { replica.discard() }
      async let client = Command.python(
        "exclusive.py",
        [path, replica.mount + "/a.db"],
        seconds: 60
      )
      try await replica.start()
      let result = try await client
      #expect(result.isSuccess, "\(result.output)")
      try await expectSameBytes("a.db", nodes + [replica])
      try await replica.stop()
    }
  }
}
