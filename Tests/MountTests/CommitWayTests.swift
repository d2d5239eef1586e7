import Foundation
import Testing

/// Every way in which SQLite commits, and in which a database comes, changes and goes as a file: the
/// same steps on a mount and on a plain directory give the same content and the same errors, and
/// the replica follows.
@Suite(.serialized)
struct CommitWayTests {
  @Test(
    "As on a plain directory, and on the replica",
    .timeLimit(.minutes(5)),
    arguments: ["journals", "wal", "files", "uris"]
  )
  func asOnAPlainDirectory(group: String) async throws {
    try await run(group, passthrough: true)
  }

  @Test("The same without passthrough", .timeLimit(.minutes(5)), arguments: ["journals", "wal"])
  func withoutPassthrough(group: String) async throws {
    try await run(group, passthrough: false)
  }

  @Test("The same with write-ahead logs passed through", .timeLimit(.minutes(5)))
  func logsPassedThrough() async throws {
    try await run("wal", passthrough: true, passesLogs: true)
  }

  @Test(
    "An application that is killed before any of its system calls",
    .timeLimit(.minutes(5)),
    arguments: ["attach", "kills"]
  )
  func killed(group: String) async throws {
    try await run(group, passthrough: true)
  }

  private func run(
    _ group: String,
    passthrough: Bool,
    passesLogs: Bool = false
  ) async throws {
    let script = "ways/\(group).py"
    let listed = try await Command.python(script, ["list", "", "", ""])
    let ways = listed.output.split(separator: "\n").map(String.init)
    try #require(listed.isSuccess && !ways.isEmpty, "\(listed.output)")
    try await withCluster(
      replicas: 1,
      passthrough: passthrough,
      passesLogs: passesLogs
    ) { cluster, nodes in
      for way in ways {
        let result = try await Command.python(
          script,
          [way, nodes[0].mount, cluster.directory + "/plain", nodes[1].mount]
        )
        #expect(result.isSuccess, "\(way): \(result.output.suffix(2000))")
        guard result.isSuccess else { continue }
        for name in result.output.split(separator: "\n") {
          try await expectSameBytes(String(name), nodes)
        }
      }
    }
  }
}
