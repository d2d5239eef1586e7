import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Nodes whose data directory is full, read-only or gone, on real file systems.
@Suite(.serialized)
struct BadDiskTests {
  /// A primary whose data directory is a file system of its own, and a replica.
  private func withSmallDisk(
    _ mount: [String],
    _ body: (Node, Node) async throws -> Void
  ) async throws {
    let cluster = try await Cluster()
    let primary = try await cluster.node(1)
    let replica = try await cluster.node(2)
    defer {
      for node in [replica, primary] { node.discard() }
      umount2(primary.data, Int32(MNT_DETACH))
      cluster.remove()
    }
    try FileManager.default.createDirectory(
      atPath: primary.data,
      withIntermediateDirectories: true
    )
    let mounted = try await Command.run(mount.map { $0 == "DATA" ? primary.data : $0 })
    #expect(mounted.isSuccess, "\(mounted.output)")
    try await primary.start()
    try await replica.start()
    try await body(primary, replica)
    for node in [replica, primary] { #expect(try await node.stop() == 0, "\(node.report)") }
  }

  private func isReady(_ node: Node) async throws -> Bool {
    try await Command.run(
      ["curl", "-sf", "-m", "5", "http://127.0.0.1:\(node.http)/ready"],
      seconds: 10
    ).isSuccess
  }

  /// Status, readiness, metrics and log all say what is wrong, and reads go on.
  private func expectTrouble(_ node: Node, _ word: String, rows: Int) async throws {
    try await Deadline.wait(seconds: 20, for: "\(node.name) to say so") {
      try await !isReady(node)
    }
    let status = try await node.status()
    let problems = status["problems"] as? [String] ?? []
    #expect(problems.contains { $0.contains(word) }, "\(problems)")
    let metrics = try await Command.run(
      ["curl", "-s", "-m", "5", "http://127.0.0.1:\(node.http)/metrics"])
    #expect(metrics.output.contains("halite_problems 1"))
    #expect(node.log.contains(word), "\(node.report)")
    let read = try await Command.sqlite(node.mount + "/a.db", "select count(*) from t")
    #expect(read.output == "\(rows)\n", "\(read.output)")
  }

  private func expectWork(_ nodes: [Node], rows: Int) async throws {
    try await Deadline.wait(seconds: 20, for: "the disk to be taken for good") {
      try await isReady(nodes[0])
    }
    let written = try await Command.sqlite(
      nodes[0].mount + "/a.db",
      "insert into t values (zeroblob(5000)); select count(*) from t; pragma integrity_check"
    )
    #expect(written.output == "\(rows + 1)\nok\n", "\(written.output)")
    try await expectSameBytes("a.db", nodes)
  }

  /// Inserts until that fails; how many rows there are then, and what SQLite said.
  private func fill(_ node: Node, _ most: Int = 3000) async throws -> (rows: Int, error: String) {
    let script = """
      import sqlite3, sys
      c = sqlite3.connect(sys.argv[1], isolation_level=None)
      try:
        for _ in range(\(most)): c.execute("insert into t values (randomblob(20000))")
        print("never full")
      except sqlite3.Error as e: print(e)
      print(c.execute("select count(*) from t").fetchone()[0])
      """
    let result = try await Command.run(
      ["timeout", "-s", "KILL", "60", "python3", "-c", script, node.mount + "/a.db"],
      seconds: 70
    )
    let lines = result.output.split(separator: "\n")
    return (Int(lines.last ?? "") ?? -1, String(lines.first ?? ""))
  }

  @Test(
    "A full disk is SQLITE_FULL, and writes go on once there is room",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete", "truncate", "persist"]
  )
  func full(mode: String) async throws {
    let tmpfs = ["mount", "-t", "tmpfs", "-o", "size=24m", "halite-test", "DATA"]
    try await withSmallDisk(tmpfs) { primary, replica in
      let made = try await Command.sqlite(
        primary.mount + "/a.db",
        "pragma journal_mode=\(mode); create table t(x);"
      )
      #expect(made.isSuccess, "\(made.output)")
      let filler = primary.data + "/filler"
      let filled = try await Command.run([
        "dd", "if=/dev/zero", "of=" + filler, "bs=1M", "count=16",
      ])
      #expect(filled.isSuccess, "\(filled.output)")
      let (rows, error) = try await fill(primary)
      #expect(error == "database or disk is full", "\(error)")
      #expect(rows >= 0)
      try await expectTrouble(primary, "room", rows: rows)
      try FileManager.default.removeItem(atPath: filler)
      try await expectWork([primary, replica], rows: rows)
    }
  }

  @Test(
    "A data directory that vanishes is missed, and taken up again",
    .timeLimit(.minutes(3)),
    arguments: ["wal", "delete"]
  )
  func vanished(mode: String) async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let made = try await Command.sqlite(
        nodes[0].mount + "/a.db",
        "pragma journal_mode=\(mode); create table t(x); insert into t values (1);"
      )
      #expect(made.isSuccess, "\(made.output)")
      let away = nodes[0].data + ".away"
      try FileManager.default.moveItem(atPath: nodes[0].data, toPath: away)
      try await Deadline.wait(seconds: 20, for: "the node to miss its directory") {
        try await !isReady(nodes[0])
      }
      let problems = try await nodes[0].status()["problems"] as? [String] ?? []
      #expect(problems.contains { $0.contains("is gone") }, "\(problems)")
      let refused = try await Command.sqlite(
        nodes[0].mount + "/a.db",
        "insert into t values (2)"
      )
      #expect(!refused.isSuccess, "\(refused.output)")
      try FileManager.default.moveItem(atPath: away, toPath: nodes[0].data)
      try await expectWork(nodes, rows: 1)
    }
  }

  @Test("A disk that turns read-only is read, and loses nothing", .timeLimit(.minutes(3)))
  func readOnly() async throws {
    let image = "/tmp/halite-test-disk-\(UUID().uuidString.prefix(8)).img"
    defer { try? FileManager.default.removeItem(atPath: image) }
    let script = """
      truncate -s 64M \(image) && mkfs.ext4 -q -F \(image)
      mount -o loop,errors=remount-ro \(image) "$0"
      """
    try await withSmallDisk(["bash", "-ec", script, "DATA"]) { primary, replica in
      let made = try await Command.sqlite(
        primary.mount + "/a.db",
        "create table t(x); insert into t values (1);"
      )
      #expect(made.isSuccess, "\(made.output)")
      // What the kernel does by itself when it finds the file system damaged.
      let broken = try await Command.run([
        "bash", "-ec",
        "device=$(findmnt -no SOURCE \(primary.data))\n"
          + "echo 1 >/sys/fs/ext4/${device##*/}/trigger_fs_error",
      ])
      #expect(broken.isSuccess, "\(broken.output)")
      let refused = try await Command.sqlite(
        primary.mount + "/a.db",
        "insert into t values (2)"
      )
      #expect(!refused.isSuccess, "\(refused.output)")
      try await expectTrouble(primary, "Read-only file system", rows: 1)
      // Such a file system has to be mounted anew.
      try await primary.crash()
      let again = try await Command.run([
        "bash", "-ec",
        "umount -l \(primary.mount); umount \(primary.data); fsck.ext4 -fy \(image) >&2 || true\n"
          + "mount -o loop \(image) \(primary.data)",
      ])
      #expect(again.isSuccess, "\(again.output)")
      try await primary.start()
      try await expectWork([primary, replica], rows: 1)
    }
  }
}
