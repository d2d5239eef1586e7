import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The command as an operator uses it, against running nodes.
@Suite(.serialized)
struct CommandTests {
  @Test("status, import, export, ltx and the HTTP endpoints", .timeLimit(.minutes(3)))
  func commands() async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let source = cluster.directory + "/plain/source.db"
      let made = try await Command.sqlite(
        source,
        "create table t(x); insert into t values('imported');"
      )
      #expect(made.isSuccess, "\(made.output)")
      let imported = try await nodes[0].halite("import", ["app.db", source])
      #expect(imported.isSuccess, "\(imported.output)")
      try await expectSameBytes("app.db", nodes)
      let refused = try await nodes[1].halite("import", ["app.db", source])
      #expect(refused.code == 1 && refused.output.contains("primary"), "\(refused.output)")
      for node in nodes {
        let target = "\(cluster.directory)/plain/\(node.name).db"
        let exported = try await node.halite("export", ["app.db", target])
        #expect(exported.isSuccess, "\(exported.output)")
        let read = try await Command.sqlite(target, "select x from t; pragma integrity_check")
        #expect(read.output == "imported\nok\n", "\(read.output)")
      }
      let missing = try await nodes[0].halite("export", ["none.db", cluster.directory + "/x"])
      #expect(missing.code == 1 && missing.output.contains("none.db"), "\(missing.output)")
      try await checkStatus(nodes)
      try await checkHTTP(nodes[0])
    }
  }

  @Test("An import while others look", .timeLimit(.minutes(3)), arguments: [true, false])
  func importWhileRead(passthrough: Bool) async throws {
    try await withCluster(replicas: 1, passthrough: passthrough) { cluster, nodes in
      let result = try await Command.python(
        "import_seen.py",
        [Node.binary, nodes[0].configuration, nodes[0].mount, cluster.directory + "/plain"]
      )
      #expect(result.isSuccess, "\(result.output.suffix(1000))")
      try await expectSameBytes("seen.db", nodes)
    }
  }

  private func checkStatus(_ nodes: [Node]) async throws {
    let primary = try await nodes[0].status()
    let replica = try await nodes[1].status()
    #expect((primary["node"] as? [String: Any])?["role"] as? String == "primary")
    #expect((replica["node"] as? [String: Any])?["role"] as? String == "replica")
    #expect((replica["primary"] as? [String: Any])?["name"] as? String == "node1")
    let positions = [primary, replica].map { status in
      (status["databases"] as? [[String: Any]])?.first?["txid"] as? String
    }
    #expect(positions[0] != nil && positions[0] == positions[1])
    #expect(primary["cluster"] as? String == replica["cluster"] as? String)
    let text = try await nodes[0].halite("status")
    #expect(text.isSuccess && text.output.contains("app.db"), "\(text.output)")
  }

  private func checkHTTP(_ node: Node) async throws {
    let base = "http://127.0.0.1:\(node.http)"
    for (path, expected) in [
      ("/health", "200"), ("/ready", "200"), ("/metrics", "200"), ("/status", "200"), ("/", "200"),
      ("/none", "404"),
    ] {
      let result = try await Command.run(
        ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", base + path])
      #expect(result.output == expected, "\(path)")
    }
    let metrics = try await Command.run(["curl", "-s", "-m", "5", base + "/metrics"])
    #expect(metrics.output.contains("halite_is_primary 1"), "\(metrics.output.prefix(2000))")
  }

  @Test("A command runs on the mount; its exit code is the node's", .timeLimit(.minutes(2)))
  func child() async throws {
    let cluster = try await Cluster()
    let node = try await cluster.node(1)
    defer {
      node.discard()
      cluster.remove()
    }
    let script = "sqlite3 x.db 'create table t(x)'; test -f x.db-pos; exit 7"
    try await node.start(["bash", "-c", "cd \(node.mount); \(script)"], untilReady: false)
    let code = try await node.waitForEnd(seconds: 60)
    #expect(code == 7, "\(node.log.suffix(2000))")
  }

  @Test("One node needs no configuration", .timeLimit(.minutes(2)))
  func alone() async throws {
    let cluster = try await Cluster()
    defer { cluster.remove() }
    let mount = cluster.directory + "/alone"
    let result = try await Node.halite(
      [
        "mount", "--dir", mount, "--data", cluster.directory + "/alone-data", "--", "bash", "-ec",
        "cd \(mount); sqlite3 x.db 'create table t(x); insert into t values(5)';"
          + "sqlite3 x.db 'select x from t'; cat x.db-pos",
      ])
    #expect(result.isSuccess, "\(result.output)")
    #expect(result.output.contains("5\n"), "\(result.output)")
    let again = try await Node.halite(
      [
        "mount", "--dir", mount, "--data", cluster.directory + "/alone-data", "--", "sqlite3",
        mount + "/x.db", "select x + 1 from t",
      ])
    #expect(again.output.contains("6\n"), "\(again.output)")
    let left = try await Command.run(["mountpoint", "-q", mount])
    #expect(!left.isSuccess)
  }

  @Test("A damaged configuration or log is refused and nothing is changed", .timeLimit(.minutes(2)))
  func damaged() async throws {
    try await withCluster(replicas: 0) { cluster, nodes in
      let made = try await Command.sqlite(
        nodes[0].mount + "/a.db",
        "create table t(x); insert into t values(1);"
      )
      #expect(made.isSuccess)
      try await nodes[0].stop()
      let text = try String(contentsOfFile: nodes[0].configuration, encoding: .utf8)
      try text.replacingOccurrences(of: "fuse:", with: "fuze:")
        .write(toFile: nodes[0].configuration, atomically: true, encoding: .utf8)
      let refused = try await nodes[0].halite("mount")
      #expect(refused.code == 2 && refused.output.contains("fuse"), "\(refused.output)")
      try text.write(toFile: nodes[0].configuration, atomically: true, encoding: .utf8)
      try await nodes[0].start()
      let read = try await Command.sqlite(nodes[0].mount + "/a.db", "select x from t")
      #expect(read.output == "1\n")
    }
  }

  @Test("doctor says what is there and how to mend what is not", .timeLimit(.minutes(2)))
  func doctor() async throws {
    try await withCluster(replicas: 0) { _, nodes in
      let result = try await nodes[0].halite("doctor")
      #expect(result.isSuccess, "\(result.output)")
      for subject in ["kernel", "/dev/fuse", "passthrough", "clock", "disk"] {
        #expect(result.output.contains(subject), "\(subject) is not in:\n\(result.output)")
      }
    }
  }
}
