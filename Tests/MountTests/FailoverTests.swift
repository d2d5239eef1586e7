import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Three voters on real mounts: who is the primary changes, and applications go on.
@Suite(.serialized)
struct FailoverTests {
  private static let ttl = "1s"

  /// The node that is the primary, once there is just one.
  private func primary(_ nodes: [Node], seconds: Double = 20) async throws -> Node {
    var found: Node?
    var seen = ""
    try await Deadline.wait(seconds: seconds, for: "one primary: \(seen)") {
      seen = ""
      var primaries: [Node] = []
      for node in nodes {
        guard let status = try? await node.status(), let member = status["node"] as? [String: Any]
        else { continue }
        seen +=
          "\(member) \(status["waiting"] ?? "") \(status["problems"] ?? "") \(status["lease"] ?? "")\n"
        if member["role"] as? String == "primary" { primaries.append(node) }
      }
      found = primaries.count == 1 ? primaries[0] : nil
      return found != nil
    }
    return try #require(found)
  }

  private func rows(_ node: Node) async throws -> String {
    try await Command.sqlite(node.mount + "/a.db", "select group_concat(x) from t").output
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private func expectRows(_ nodes: [Node], _ expected: String) async throws {
    for node in nodes {
      try await Deadline.wait(seconds: 20, for: "\(node.name) to have \(expected)") {
        try await rows(node) == expected
      }
    }
  }

  @Test(
    "A killed primary is replaced, and follows when it comes back",
    .timeLimit(.minutes(3)),
    arguments: ["async", "quorum"]
  )
  func killed(sync: String) async throws {
    try await withVoters(ttl: Self.ttl, sync: sync) { _, nodes in
      var expected = "0"
      let first = try await primary(nodes)
      let made = try await Command.sqlite(
        first.mount + "/a.db",
        "pragma journal_mode=wal; create table t(x); insert into t values(0)"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectRows(nodes, expected)
      for round in 1...2 {
        let old = try await primary(nodes)
        let others = nodes.filter { $0 !== old }
        try await old.crash()
        let began = ContinuousClock.now
        let new = try await primary(others)
        #expect(ContinuousClock.now - began < .seconds(5))
        let written = try await Command.sqlite(
          new.mount + "/a.db",
          "insert into t values(\(round))"
        )
        #expect(written.isSuccess, "\(written.output)")
        expected += ",\(round)"
        try await old.start()
        try await expectRows(nodes, expected)
      }
      try await expectSameBytes("a.db", nodes)
    }
  }

  /// Of the nodes that are left one has all of the log and a damaged database, the other a whole one that lacks the
  /// last transaction: together they have everything.
  @Test(
    "A node with a damaged database gives its log to one that takes its place",
    .timeLimit(.minutes(3))
  )
  func damaged() async throws {
    try await withVoters(ttl: Self.ttl, sync: "quorum") { _, nodes in
      let first = try await primary(nodes)
      let made = try await Command.sqlite(
        first.mount + "/a.db",
        """
        pragma journal_mode=delete; create table t(x); create table filler(a, b);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
        insert into filler select i, hex(zeroblob(200)) from n;
        insert into t values(1);
        """
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectRows(nodes, "1")
      let others = nodes.filter { $0 !== first }
      let (behind, damaged) = (others[0], others[1])
      try await behind.stop()
      let more = try await Command.sqlite(first.mount + "/a.db", "insert into t values(2)")
      #expect(more.isSuccess, "\(more.output)")
      try await expectRows([damaged], "1,2")
      try await damaged.stop()
      try await first.crash()

      try damaged.damage("a.db")
      try damaged.scrubsEagerly()
      try await damaged.start(untilReady: false)
      try await damaged.waitForDamage()
      try await behind.start(untilReady: false)
      let new = try await primary([damaged, behind], seconds: 40)
      #expect(new === behind, "\(damaged.report)")
      #expect(damaged.log.contains("it gives its log to the others"), "\(damaged.report)")
      try await Deadline.wait(seconds: 30, for: "the repair; \(damaged.report)") {
        damaged.log.contains("was fetched from the primary")
      }
      try await expectRows([damaged, behind], "1,2")
      try await expectSameBytes("a.db", [damaged, behind])
      try await first.start()
      try await expectRows(nodes, "1,2")
    }
  }

  /// Applications keep one connection each while the lease goes round; nothing that was acknowledged is lost,
  /// since each hand-over waits until the successor has everything.
  @Test(
    "Connections go on over hand-overs, and nothing is lost",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"],
    ["async", "quorum"]
  )
  func handedOver(mode: String, sync: String) async throws {
    // Where writes are not forwarded, only the clients of each primary write.
    let extra = sync == "async" ? "write-forwarding: false" : ""
    try await withVoters(ttl: Self.ttl, sync: sync, extra: extra) { cluster, nodes in
      let first = try await primary(nodes)
      let made = try await Command.sqlite(
        first.mount + "/a.db",
        "pragma journal_mode=\(mode); create table t(node, x)"
      )
      #expect(made.isSuccess, "\(made.output)")
      for node in nodes {
        try await Deadline.wait(seconds: 20, for: "\(node.name) to have the table") {
          try await Command.sqlite(node.mount + "/a.db", "select count(*) from t").isSuccess
        }
      }
      let stop = cluster.directory + "/stop"
      async let writers = Command.python(
        "role_writers.py",
        [stop, "a.db"] + nodes.map(\.mount),
        seconds: 120
      )
      for _ in 0..<2 {
        let old = try await primary(nodes)
        let given = try await old.halite("demote")
        #expect(given.isSuccess, "\(given.output)")
        let new = try await primary(nodes)
        #expect(new !== old)
        let wanting = try #require(nodes.first { $0 !== new && $0 !== old })
        let taken = try await wanting.halite("promote")
        #expect(taken.isSuccess, "\(taken.output) \(nodes.map(\.report).joined(separator: "\n"))")
        #expect(try await primary(nodes) === wanting)
      }
      _ = FileManager.default.createFile(atPath: stop, contents: nil)
      let result = try await writers
      #expect(result.isSuccess, "\(result.output.suffix(2000))")
      try await expectSameBytes("a.db", nodes)
      let checked = try await Command.sqlite(nodes[0].mount + "/a.db", "pragma integrity_check")
      #expect(checked.output.hasPrefix("ok"))
    }
  }

  @Test(
    "A primary that stood still is replaced, and follows when it goes on",
    .timeLimit(.minutes(3))
  )
  func paused() async throws {
    try await withVoters(ttl: Self.ttl) { _, nodes in
      let old = try await primary(nodes)
      let made = try await Command.sqlite(
        old.mount + "/a.db",
        "pragma journal_mode=wal; create table t(x); insert into t values(0)"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectRows(nodes, "0")
      old.signal(SIGSTOP)
      let others = nodes.filter { $0 !== old }
      let new = try await primary(others)
      let written = try await Command.sqlite(new.mount + "/a.db", "insert into t values(1)")
      #expect(written.isSuccess, "\(written.output)")
      old.signal(SIGCONT)
      #expect(try await primary(nodes) === new)
      try await expectRows(nodes, "0,1")
      // What it writes now goes to the new primary.
      let forwarded = try await Command.sqlite(old.mount + "/a.db", "insert into t values(2)")
      #expect(forwarded.isSuccess, "\(forwarded.output)")
      try await expectRows(nodes, "0,1,2")
    }
  }

  @Test(
    "A commit that no majority has is held, seen by nobody, and fails with the lease",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func held(mode: String) async throws {
    try await withVoters(ttl: Self.ttl, sync: "quorum") { _, nodes in
      let old = try await primary(nodes)
      let made = try await Command.sqlite(
        old.mount + "/a.db",
        "pragma journal_mode=\(mode); create table t(x); insert into t values(0)"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectRows(nodes, "0")
      let others = nodes.filter { $0 !== old }
      for node in others { node.signal(SIGSTOP) }
      async let write = Command.sqlite(old.mount + "/a.db", "insert into t values(1)")
      try await Deadline.wait(seconds: 10, for: "the commit to be held") {
        let status = try await old.status()
        let waiting = status["waiting"] as? [String] ?? []
        let lease = status["lease"] as? [String: Any]
        return waiting.contains { $0.contains("wait for a majority") }
          && lease?["commits_waiting"] as? Int == 1
      }
      if mode == "wal" {
        let seen = try await rows(old)
        #expect(seen == "0", "\(seen)")
      }
      let result = try await write
      #expect(!result.isSuccess && result.output.contains("I/O"), "\(result.output)")
      for node in others { node.signal(SIGCONT) }
      let new = try await primary(nodes)
      let written = try await Command.sqlite(new.mount + "/a.db", "insert into t values(2)")
      #expect(written.isSuccess, "\(written.output)")
      // Whoever became the primary decided it, and all agree.
      let rows = try await rows(new)
      #expect(rows == "0,2" || rows == "0,1,2", "\(rows)")
      try await expectRows(nodes, rows)
      try await expectSameBytes("a.db", nodes)
    }
  }

  @Test("A name that was proposed for the cluster keeps nobody out", .timeLimit(.minutes(3)))
  func proposedName() async throws {
    try await withNodes({ cluster, nodes in
      nodes = try await cluster.voters(3, ttl: Self.ttl)
      // As left by one that was elected and replaced before anybody followed it.
      try FileManager.default.createDirectory(
        atPath: nodes[0].data,
        withIntermediateDirectories: true
      )
      try Data("someone-elses\n0\nproposed\n".utf8)
        .write(to: URL(fileURLWithPath: nodes[0].data + "/cluster"))
      for node in nodes[1...] { try await node.start(untilReady: false) }
      for node in nodes[1...] { try await node.waitUntilReady() }
      try await nodes[0].start()
    }) { _, nodes in
      // By now it is nobody's to choose any more.
      let names = try nodes.map { node in
        let text = try String(contentsOfFile: node.data + "/cluster", encoding: .utf8)
        #expect(!text.contains("proposed"), "\(node.name): \(text)")
        return text.prefix { $0 != "\n" }
      }
      #expect(Set(names).count == 1 && names[0] != "someone-elses", "\(names)")
    }
  }

  @Test("A command is run on the primary alone", .timeLimit(.minutes(3)))
  func commandOnThePrimary() async throws {
    try await withVoters(ttl: Self.ttl) { _, nodes in
      let old = try await primary(nodes)
      let other = try #require(nodes.first { $0 !== old })
      let ran = try await old.halite("run", ["--on-primary", "--", "sh", "-c", "echo ran; exit 7"])
      #expect(ran.code == 7 && ran.output == "ran\n", "\(ran.output)")
      let left = try await other.halite("run", ["--on-primary", "--", "echo", "ran"])
      #expect(
        left.isSuccess && left.output.contains("\(other.name) is not the primary, \(old.name) is;")
          && !left.output.contains("ran\n"),
        "\(left.output)"
      )
      let taken = try await other.halite("run", ["--promote", "--on-primary", "--", "echo", "ran"])
      #expect(taken.isSuccess && taken.output.contains("ran\n"), "\(taken.output)")
      #expect(try await primary(nodes) === other)
      let lease = try await old.status()["lease"] as? [String: Any]
      #expect(lease?["hand_overs"] as? Int == 1, "\(lease ?? [:])")
      let missing = try await old.halite("run", ["--on-primary"])
      #expect(missing.code == 2 && missing.output.contains("follows --"), "\(missing.output)")
      let unknown = try await old.halite("run", ["--", "/no/such/program"])
      #expect(unknown.code == 1 && unknown.output.contains("cannot run"), "\(unknown.output)")
    }
  }

  @Test(
    "Without a majority nobody writes, and a node that is not a voter follows",
    .timeLimit(.minutes(3))
  )
  func minority() async throws {
    try await withVoters(ttl: Self.ttl) { cluster, nodes in
      let observer = try await cluster.observer(4, of: nodes, ttl: Self.ttl)
      defer { observer.discard() }
      try await observer.start()
      let old = try await primary(nodes)
      let made = try await Command.sqlite(
        old.mount + "/a.db",
        "pragma journal_mode=wal; create table t(x); insert into t values(0)"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await expectRows(nodes + [observer], "0")
      let others = nodes.filter { $0 !== old }
      for node in others { node.signal(SIGSTOP) }
      try await Deadline.wait(seconds: 10, for: "writes to be refused") {
        try await !Command.sqlite(old.mount + "/a.db", "insert into t values(1)").isSuccess
      }
      let read = try await rows(old)
      #expect(read.hasPrefix("0"), "\(read); \(old.log.suffix(1500))")
      for node in others { node.signal(SIGCONT) }
      let new = try await primary(nodes)
      let written = try await Command.sqlite(new.mount + "/a.db", "insert into t values(2)")
      #expect(written.isSuccess, "\(written.output)")
      try await expectSameBytes("a.db", nodes + [observer])
      // Not to one that does not vote, and at once.
      let refused = try await new.halite("demote", ["--to", "node4"])
      #expect(
        !refused.isSuccess && refused.output.contains("node4 is not there"),
        "\(refused.output)"
      )
      #expect(try await primary(nodes) === new)
      try await observer.stop()
    }
  }
}
