import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Daemons and applications killed at random moments: a restart ends at a committed boundary with
/// every acknowledged transaction, and the replicas follow.
@Suite(.serialized)
struct CrashTests {
  @Test(
    "The application is killed",
    .timeLimit(.minutes(5)),
    arguments: ["wal", "delete", "persist"]
  )
  func application(mode: String) async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let notes = cluster.directory + "/notes"
      for round in 0..<15 {
        let ended = try await writeForAWhile(nodes[0], mode, notes, round) { _ in }
        // Killed, not failed.
        #expect(ended.code >= 124, "\(ended.code) \(ended.output)")
        try await expectAcknowledged(nodes[0], notes)
      }
      try await expectSameBytes("k.db", nodes)
    }
  }

  /// How many applications die in each journal mode: `HALITE_KILLS`.
  private static let kills =
    ProcessInfo.processInfo.environment["HALITE_KILLS"].flatMap(Int.init) ?? 500
  /// How many daemons do, where a short run has `few` of them.
  private static func daemons(_ few: Int) -> Int { max(few, kills / 40) }

  @Test(
    "Applications are killed one after the other while others go on",
    .timeLimit(.minutes(60)),
    arguments: [
      ("wal", false), ("wal", true), ("delete", false), ("truncate", false), ("persist", false),
    ]
  )
  func applications(mode: String, passesLogs: Bool) async throws {
    try await withCluster(replicas: 1, passesLogs: passesLogs) { _, nodes in
      let result = try await Command.python(
        "kills.py",
        [nodes[0].mount + "/k.db", mode, "\(Self.kills)", "\(mode.utf8.count)"],
        seconds: 60 + Self.kills
      )
      #expect(result.isSuccess, "\(result.output.suffix(1000))")
      print("kills: \(mode): \(result.output)")
      try await expectSameBytes("k.db", nodes)
    }
  }

  @Test("The primary's daemon is killed", .timeLimit(.minutes(60)), arguments: ["wal", "truncate"])
  func primary(mode: String) async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let notes = cluster.directory + "/notes"
      for round in 0..<Self.daemons(8) {
        _ = try await writeForAWhile(nodes[0], mode, notes, round) { node in
          try await node.crash()
        }
        try await nodes[0].start()
        try await expectAcknowledged(nodes[0], notes)
        try await nodes[1].waitUntilReady()
        try await expectSameBytes("k.db", nodes)
      }
    }
  }

  @Test("A replica's daemon is killed", .timeLimit(.minutes(60)), arguments: ["wal", "delete"])
  func replica(mode: String) async throws {
    try await withCluster(replicas: 1) { cluster, nodes in
      let notes = cluster.directory + "/notes"
      for round in 0..<Self.daemons(6) {
        _ = try await writeForAWhile(nodes[0], mode, notes, round) { _ in
          try await nodes[1].crash()
        }
        try await nodes[1].start()
        try await expectSameBytes("k.db", nodes)
      }
    }
  }

  /// Starts a writer that goes on until it fails or is killed, does something to the node meanwhile,
  /// and returns how the writer ended.
  private func writeForAWhile(
    _ node: Node,
    _ mode: String,
    _ notes: String,
    _ round: Int,
    _ meanwhile: @Sendable (Node) async throws -> Void
  ) async throws -> Command.Result {
    // `timeout` kills it; the moment differs from round to round.
    let seconds = "0.\(200 + (round * 37) % 500)"
    let database = node.mount + "/k.db"
    let script = Command.script("acknowledged.py")
    async let writer = Command.run([
      "timeout", "-s", "KILL", seconds, "python3", script, "write", database, mode, notes,
      "\(round)",
    ])
    let start = (try? Data(contentsOf: URL(fileURLWithPath: notes)).count) ?? 0
    let deadline = ContinuousClock.now + .seconds(2)
    while ContinuousClock.now < deadline,
      ((try? Data(contentsOf: URL(fileURLWithPath: notes)).count) ?? 0) < start + 40
    {
      try await Task.sleep(for: .milliseconds(2))
    }
    try await meanwhile(node)
    return try await writer
  }

  private func expectAcknowledged(
    _ node: Node,
    _ notes: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let result = try await Command.python(
      "acknowledged.py",
      ["check", node.mount + "/k.db", notes]
    )
    #expect(result.isSuccess, "\(result.output.suffix(1000))", sourceLocation: sourceLocation)
  }

  @Test("A mount whose daemon was killed is taken over at the next start", .timeLimit(.minutes(2)))
  func staleMount() async throws {
    try await withCluster(replicas: 0) { _, nodes in
      let made = try await Command.sqlite(
        nodes[0].mount + "/a.db",
        "create table t(x); insert into t values(7);"
      )
      #expect(made.isSuccess, "\(made.output)")
      try await nodes[0].crash()
      let dead = try await Command.run(["ls", nodes[0].mount], seconds: 10)
      #expect(!dead.isSuccess)
      try await nodes[0].start()
      let read = try await Command.sqlite(nodes[0].mount + "/a.db", "select x from t")
      #expect(read.output == "7\n")
    }
  }
}
