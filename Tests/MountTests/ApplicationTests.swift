import Foundation
import Testing

/// Applications that were never meant for this.
@Suite(.serialized)
struct ApplicationTests {
  @Test(
    "CPython's own tests of its sqlite3 module, with their files on the mount",
    .timeLimit(.minutes(5))
  )
  func cpython() async throws {
    // The system's Python has its tests in a package of its own, others bring them along.
    var python: String?
    for candidate in ["python3", "/usr/bin/python3"] where python == nil {
      let found = try await Command.run([candidate, "-c", "import test.test_sqlite3"])
      if found.isSuccess { python = candidate }
    }
    let interpreter = try #require(
      python,
      "no Python with its test suite; install the package libpython3.N-testsuite"
    )
    for passthrough in [true, false] {
      try await withCluster(replicas: 1, passthrough: passthrough) { _, nodes in
        let result = try await Command.run(
          [interpreter, "-m", "test", "--tempdir=\(nodes[0].mount)", "test_sqlite3"],
          seconds: 200,
          environment: ["TMPDIR": nodes[0].mount],
          directory: nodes[0].mount
        )
        #expect(result.isSuccess, "\(result.output.suffix(3000))")
        #expect(result.output.contains("Result: SUCCESS") || result.output.contains("1 test OK"))
      }
    }
  }

  @Test("The sqlite3 shell's .backup, .dump, .clone and VACUUM INTO", .timeLimit(.minutes(3)))
  func shell() async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let mount = nodes[0].mount
      let made = try await Command.sqlite(
        mount + "/a.db",
        """
        pragma journal_mode=wal; create table t(a integer primary key, b text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
        insert into t select i, hex(randomblob(20)) from n; create index i on t(b);
        """
      )
      #expect(made.isSuccess, "\(made.output)")
      let copies = try await Command.run(
        [
          "bash", "-ec",
          """
          sqlite3 a.db '.backup backup.db'
          sqlite3 a.db '.clone clone.db' >/dev/null
          sqlite3 a.db "vacuum into 'into.db'"
          sqlite3 a.db .dump | sqlite3 dump.db
          cp into.db copied.db
          sqlite3 a.db .sha3sum
          for copy in backup clone into dump copied; do sqlite3 $copy.db .sha3sum; done
          """,
        ],
        directory: mount
      )
      #expect(copies.isSuccess, "\(copies.output)")
      let sums = copies.output.split(separator: "\n")
      #expect(sums.count == 6 && Set(sums).count == 1, "\(copies.output)")
      for name in ["a", "backup", "clone", "into", "dump", "copied"] {
        try await expectSameBytes(name + ".db", nodes)
      }
    }
  }

  @Test("A database may be mapped into memory", .timeLimit(.minutes(2)))
  func mapped() async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let script = """
        pragma mmap_size=100000000; pragma journal_mode=wal; create table t(a, b);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
        insert into t select i, randomblob(500) from n;
        select count(*), sum(length(b)) from t;
        """
      let made = try await Command.sqlite(nodes[0].mount + "/m.db", script)
      #expect(made.output.contains("3000|1500000"), "\(made.output)")
      try await expectSameBytes("m.db", nodes)
      for value in 1...3 {
        _ = try await Command.sqlite(nodes[0].mount + "/m.db", "update t set a = -\(value)")
        try await expectSameBytes("m.db", nodes)
        let read = try await Command.sqlite(
          nodes[1].mount + "/m.db",
          "pragma mmap_size=100000000; select min(a), max(a) from t"
        )
        #expect(read.output.contains("-\(value)|-\(value)"), "\(read.output)")
      }
    }
  }

  @Test(
    "A rollback journal is there during a transaction and at no other time",
    .timeLimit(.minutes(2)),
    arguments: [true, false]
  )
  func journals(passthrough: Bool) async throws {
    try await withCluster(replicas: 1, passthrough: passthrough) { _, nodes in
      let (mount, data) = (nodes[0].mount, nodes[0].data)
      let result = try await Command.python("journals.py", [mount, data], seconds: 60)
      #expect(result.isSuccess, "\(result.output.suffix(2000)) \(nodes[0].log.suffix(1000))")
      try await expectSameBytes("b.db", nodes)
    }
  }
}
