import Foundation
import Testing

/// Bytes that the disk loses, on running nodes and on stopped ones.
@Suite(.serialized)
struct CorruptionTests {
  private func withScrubbed(
    replicas: Int,
    _ body: (Cluster, [Node]) async throws -> Void
  ) async throws {
    try await withNodes(
      { cluster, nodes in
        for number in 1...(replicas + 1) {
          let node = try await cluster.node(number)
          nodes.append(node)
          try node.scrubsEagerly()
          try await node.start()
        }
      },
      body
    )
  }

  private func fill(_ node: Node, _ mode: String) async throws {
    let made = try await Command.sqlite(
      node.mount + "/app.db",
      """
      pragma journal_mode=\(mode); create table t(a integer primary key, b);
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
      insert into t select i, hex(zeroblob(200)) from n;
      """
    )
    #expect(made.isSuccess, "\(made.output)")
  }

  @Test(
    "A replica fetches a damaged page anew",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func replica(mode: String) async throws {
    try await withScrubbed(replicas: 1) { _, nodes in
      try await fill(nodes[0], mode)
      try await expectSameBytes("app.db", nodes)
      if mode == "wal" {
        // In the main file the damage shows; the replica's daemon checkpoints by itself.
        try await nodes[1].stop()
        try nodes[1].damage("app.db")
        try await nodes[1].start()
      } else {
        try nodes[1].damage("app.db")
      }
      try await nodes[1].waitForDamage()
      try await Deadline.wait(seconds: 30, for: "the repair; \(nodes[1].report)") {
        nodes[1].log.contains("was fetched from the primary")
      }
      try await nodes[1].waitUntilReady()
      try await expectSameBytes("app.db", nodes)
      let more = try await Command.sqlite(nodes[0].mount + "/app.db", "update t set b = a")
      #expect(more.isSuccess, "\(more.output)")
      try await expectSameBytes("app.db", nodes)
      let primary = try await nodes[0].metrics()
      #expect(primary.contains("halite_scrub_damaged_pages_total 0\n"))
    }
  }

  @Test(
    "A damaged page of the primary is reported and goes nowhere",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func primary(mode: String) async throws {
    try await withScrubbed(replicas: 1) { cluster, nodes in
      try await fill(nodes[0], mode)
      try await expectSameBytes("app.db", nodes)
      try nodes[0].damage("app.db")
      try await nodes[0].waitForDamage()
      let database = (try await nodes[0].status()["databases"] as? [[String: Any]])?.first
      #expect(database?["damaged_pages"] as? [Int] == [31])
      let scrub = try await nodes[0].status()["scrub"] as? [String: Any]
      #expect(scrub?["damaged_pages"] as? Int == 1)
      #expect(try await nodes[0].metrics().contains("halite_db_damaged_pages{db=\"app.db\"} 1\n"))
      #expect(nodes[0].log.contains("page=31"), "\(nodes[0].report)")
      let text = try await nodes[0].halite("status")
      #expect(text.output.contains("page 31 is not what was committed"), "\(text.output)")
      // The replica is whole, and what is exported there mends the primary.
      let copy = cluster.directory + "/copy.db"
      let exported = try await nodes[1].halite("export", ["app.db", copy])
      #expect(exported.isSuccess, "\(exported.output)")
      let read = try await Command.sqlite(
        copy,
        "select count(*) from t where b = hex(zeroblob(200)); pragma integrity_check"
      )
      #expect(read.output == "2000\nok\n", "\(read.output)")
      let imported = try await nodes[0].halite("import", ["app.db", copy])
      #expect(imported.isSuccess, "\(imported.output)")
      try await expectSameBytes("app.db", nodes)
      try await Deadline.wait(seconds: 30, for: "the report to end") {
        let databases = try await nodes[0].status()["databases"] as? [[String: Any]]
        return databases?.first?["damaged_pages"] == nil
      }
    }
  }

  @Test("doctor --deep on a sound, a running and a damaged node", .timeLimit(.minutes(3)))
  func doctor() async throws {
    try await withScrubbed(replicas: 0) { _, nodes in
      let node = nodes[0]
      try await fill(node, "wal")
      let running = try await node.halite("doctor", ["--deep"])
      #expect(running.code == 1 && running.output.contains("a node is running"))
      let second = try await node.halite("mount")
      #expect(second.code == 1 && second.output.contains("data directory"), "\(second.output)")
      try await node.stop()
      let sound = try await node.halite("doctor", ["--deep", "--json"])
      #expect(sound.isSuccess, "\(sound.output)")
      #expect(sound.output.contains("\"healthy\" : true"), "\(sound.output)")
      try node.damage("app.db")
      let damaged = try await node.halite("doctor", ["--deep"])
      #expect(damaged.code == 1, "\(damaged.output)")
      #expect(
        damaged.output.contains("fail  database app.db  pages 31 of"),
        "\(damaged.output)"
      )
      try node.damage("app.db")
      let logs = try await Command.run(["bash", "-c", "ls \(node.data)/log/*.log"])
      let log = logs.output.split(separator: "\n").map(String.init)
      let script = "printf x | dd of=\(log[0]) bs=1 seek=400 conv=notrunc status=none"
      #expect(try await Command.run(["bash", "-c", script]).isSuccess)
      let entry = try await node.halite("doctor", ["--deep"])
      #expect(entry.code == 1 && entry.output.contains("fail  log"), "\(entry.output)")
      let record = "for f in \(node.data)/state/*.db; do printf x | dd of=$f bs=1 seek=40 "
      _ = try await Command.run(["bash", "-c", record + "conv=notrunc status=none; done"])
      let records = try await node.halite("doctor", ["--deep"])
      #expect(records.code == 1 && records.output.contains("fail  state"), "\(records.output)")
    }
  }
}
