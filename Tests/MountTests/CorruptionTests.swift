import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Bytes that the disk loses, on running nodes and on stopped ones.
@Suite(.serialized)
struct CorruptionTests {
  /// Reads everything once a second, so that a test need not wait for a day.
  private let eager = "scrub-rate: 64MiB, scrub-interval: 1s"

  private func withNodes(
    replicas: Int,
    _ body: (Cluster, [Node]) async throws -> Void
  ) async throws {
    let cluster = try await Cluster()
    var nodes: [Node] = []
    defer {
      for node in nodes { node.discard() }
      cluster.remove()
    }
    for number in 1...(replicas + 1) {
      let node = try await cluster.node(number)
      nodes.append(node)
      let text = try String(contentsOfFile: node.configuration, encoding: .utf8)
      try text.replacingOccurrences(of: "/data}", with: "/data, \(eager)}")
        .write(toFile: node.configuration, atomically: true, encoding: .utf8)
      try await node.start()
    }
    try await body(cluster, nodes)
    for node in nodes.reversed() { try await node.stop() }
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

  /// Changes a byte of page 31 as a disk does: the file does not look written to.
  private func damage(_ node: Node) throws {
    let path = node.data + "/files/app.db"
    let descriptor = open(path, O_RDWR)
    guard descriptor >= 0 else { throw Failure("cannot open \(path)") }
    defer { close(descriptor) }
    var status = stat()
    fstat(descriptor, &status)
    var byte: UInt8 = 0
    guard pread(descriptor, &byte, 1, 30 * 4096 + 2000) == 1 else { throw Failure("too short") }
    byte ^= 1
    pwrite(descriptor, &byte, 1, 30 * 4096 + 2000)
    futimens(descriptor, [status.st_atim, status.st_mtim])
  }

  private func metrics(_ node: Node) async throws -> String {
    try await Command.run(
      ["curl", "-sf", "-m", "5", "http://127.0.0.1:\(node.http)/metrics"],
      seconds: 10
    ).output
  }

  private func waitForDamage(_ node: Node) async throws {
    try await Deadline.wait(seconds: 30, for: "\(node.name) to find the page; \(node.report)") {
      try await metrics(node).contains("halite_scrub_damaged_pages_total 1\n")
    }
  }

  @Test(
    "A replica fetches a damaged page anew",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func replica(mode: String) async throws {
    try await withNodes(replicas: 1) { _, nodes in
      try await fill(nodes[0], mode)
      try await expectSameBytes("app.db", nodes)
      if mode == "wal" {
        // In the main file the damage shows; the replica's daemon checkpoints by itself.
        try await nodes[1].stop()
        try damage(nodes[1])
        try await nodes[1].start()
      } else {
        try damage(nodes[1])
      }
      try await waitForDamage(nodes[1])
      try await Deadline.wait(seconds: 30, for: "the repair; \(nodes[1].report)") {
        nodes[1].log.contains("was fetched from the primary")
      }
      try await nodes[1].waitUntilReady()
      try await expectSameBytes("app.db", nodes)
      let more = try await Command.sqlite(nodes[0].mount + "/app.db", "update t set b = a")
      #expect(more.isSuccess, "\(more.output)")
      try await expectSameBytes("app.db", nodes)
      let primary = try await metrics(nodes[0])
      #expect(primary.contains("halite_scrub_damaged_pages_total 0\n"))
    }
  }

  @Test(
    "A damaged page of the primary is reported and goes nowhere",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func primary(mode: String) async throws {
    try await withNodes(replicas: 1) { cluster, nodes in
      try await fill(nodes[0], mode)
      try await expectSameBytes("app.db", nodes)
      try damage(nodes[0])
      try await waitForDamage(nodes[0])
      let database = (try await nodes[0].status()["databases"] as? [[String: Any]])?.first
      #expect(database?["damaged_pages"] as? [Int] == [31])
      let scrub = try await nodes[0].status()["scrub"] as? [String: Any]
      #expect(scrub?["damaged_pages"] as? Int == 1)
      #expect(try await metrics(nodes[0]).contains("halite_db_damaged_pages{db=\"app.db\"} 1\n"))
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
    try await withNodes(replicas: 0) { _, nodes in
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
      try damage(node)
      let damaged = try await node.halite("doctor", ["--deep"])
      #expect(damaged.code == 1, "\(damaged.output)")
      #expect(
        damaged.output.contains("fail  database app.db  pages 31 of"),
        "\(damaged.output)"
      )
      try damage(node)
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
