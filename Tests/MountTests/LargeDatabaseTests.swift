import Foundation
import Testing

/// Databases and transactions larger than what one would like to hold in memory.
@Suite(.serialized)
struct LargeDatabaseTests {
  /// SQLite never uses the page at 1 GiB, in which its lock bytes lie; so nobody else may, either.
  @Test("A database of more than 1 GiB", .timeLimit(.minutes(5)))
  func lockPage() async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let paths = nodes.map { $0.mount + "/a.db" }
      let made = try await Command.python("large.py", ["lock-page", paths[0]])
      #expect(made.isSuccess, "\(made.output)")
      let same = try await Command.python("large.py", ["same"] + paths)
      #expect(same.isSuccess, "\(same.output)")
      let copy = cluster.directory + "/copy.db"
      let exported = try await nodes[1].halite("export", ["a.db", copy], seconds: 120)
      #expect(exported.isSuccess, "\(exported.output)")
      // In this journal mode the main file is all the primary has.
      let equal = try await Command.run(["cmp", copy, nodes[0].data + "/files/a.db"])
      #expect(equal.isSuccess, "\(equal.output)")
      let imported = try await nodes[0].halite("import", ["a.db", copy], seconds: 120)
      #expect(imported.isSuccess, "\(imported.output)")
      let again = try await Command.python("large.py", ["same"] + paths)
      #expect(again.isSuccess, "\(again.output)")
    }
  }

  @Test("Memory stays bounded", .timeLimit(.minutes(5)), arguments: ["wal", "delete", "off"])
  func memory(mode: String) async throws {
    try await withCluster(replicas: 1) { _, nodes in
      let paths = nodes.map { $0.mount + "/a.db" }
      let made = try await Command.python("large.py", ["transaction", paths[0], mode, "160"])
      #expect(made.isSuccess, "\(made.output)")
      let same = try await Command.python("large.py", ["same"] + paths)
      #expect(same.isSuccess, "\(same.output)")
      try await expectSameBytes("a.db", nodes)
      for node in nodes {
        let result = try await Command.python("large.py", ["memory", "\(node.processIdentifier)"])
        let megabytes = try #require(
          Int(result.output.trimmingCharacters(in: .whitespacesAndNewlines))
        )
        #expect(megabytes < 250, "\(node.name) has had \(megabytes) MiB")
      }
    }
  }
}
