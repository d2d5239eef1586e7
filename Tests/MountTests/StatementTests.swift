import Testing

/// The same statements give the same content on a mount as on a plain directory, and the same bytes
/// on every replica: real SQLite, real mounts, all journal modes and page sizes.
@Suite(.serialized)
struct StatementTests {
  static let journalModes = ["wal", "delete", "truncate", "persist", "memory"]
  static let pageSizes = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]

  @Test("One writer, every journal mode and page size", .timeLimit(.minutes(10)))
  func oneWriter() async throws {
    try await withCluster(replicas: 2) { cluster, nodes in
      let plain = cluster.directory + "/plain"
      for mode in Self.journalModes {
        for pageSize in Self.pageSizes {
          let name = "\(mode)-\(pageSize).db"
          let seed = "\(mode)\(pageSize)"
          let result = try await Command.python(
            "statements.py",
            [nodes[0].mount, plain, name, mode, "\(pageSize)", seed, "40"]
          )
          #expect(result.isSuccess, "\(name): \(result.output.suffix(2000))")
          try await expectSameBytes(name, nodes)
        }
      }
    }
  }

  @Test("Without passthrough", .timeLimit(.minutes(5)), arguments: journalModes)
  func withoutPassthrough(mode: String) async throws {
    try await withCluster(replicas: 1, passthrough: false) { cluster, nodes in
      let result = try await Command.python(
        "statements.py",
        [nodes[0].mount, cluster.directory + "/plain", "a.db", mode, "4096", "f\(mode)", "60"]
      )
      #expect(result.isSuccess, "\(result.output.suffix(2000))")
      try await expectSameBytes("a.db", nodes)
    }
  }

  @Test("Several processes write, others read", .timeLimit(.minutes(5)), arguments: journalModes)
  func severalProcesses(mode: String) async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let result = try await Command.python(
        "processes.py",
        [nodes[0].mount, nodes[1].mount, "p.db", mode, "4", "2", "4"]
      )
      #expect(result.isSuccess, "\(result.output.suffix(2000))")
      try await expectSameBytes("p.db", nodes)
    }
  }

  @Test(
    "A database that is dropped is gone everywhere, and can be made anew",
    .timeLimit(.minutes(2))
  )
  func drop() async throws {
    try await withCluster(replicas: 1) { _, nodes in
      for round in 1...2 {
        let made = try await Command.sqlite(
          nodes[0].mount + "/sub.db",
          "pragma page_size=\(512 << round); create table t(x); insert into t values(\(round));"
        )
        #expect(made.isSuccess, "\(made.output)")
        try await expectSameBytes("sub.db", nodes)
        let removed = try await Command.run(["rm", nodes[0].mount + "/sub.db"])
        #expect(removed.isSuccess, "\(removed.output)")
        try await Deadline.wait(seconds: 20, for: "the drop on the replica") {
          try await !Command.run(["test", "-e", nodes[1].mount + "/sub.db"]).isSuccess
        }
      }
    }
  }

  @Test("Directories, and a database renamed in them", .timeLimit(.minutes(2)))
  func directories() async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let made = try await Command.run(
        [
          "bash", "-ec",
          "mkdir -p a/b; sqlite3 a/b/x.db 'create table t(x); insert into t values(1)';"
            + "echo note > a/notes.txt; mv a/b/x.db a/y.db; mv a c; cat c/notes.txt;"
            + "sqlite3 c/y.db 'insert into t values(2)'",
        ],
        directory: nodes[0].mount
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectSameBytes("c/y.db", nodes)
      let note = try await Command.run(["test", "-e", nodes[1].mount + "/c/notes.txt"])
      #expect(!note.isSuccess, "an ordinary file is local to its node")
    }
  }
}
