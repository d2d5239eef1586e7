import Foundation
import GRDB
import Testing

@testable import Server

/// The commands of an operator, as functions and as a program.
@Suite(.timeLimit(.minutes(2))) struct MaintenanceTests {
  private let hasher = TokenHasher(secret: LiveServer.secret)

  private func withDatabase(
    now: Double = 1_769_847_300,
    _ body: (String, Administration, Administration.NewCluster) async throws -> Void
  ) async throws {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let administration = try Administration(
      database: directory + "/nebula.db",
      logger: .quiet,
      clock: ServerClock(now: { now }, uptime: { 0 })
    )
    _ = try await administration.createTenant("acme")
    let made = try await administration.createCluster(
      "prod",
      tenant: "acme",
      node: "admin",
      hasher: hasher
    )
    try await body(directory + "/nebula.db", administration, made)
  }

  private func execute(_ path: String, _ sql: String, _ arguments: StatementArguments) throws {
    let database = try DatabaseQueue(path: path)
    defer { try? database.close() }
    try database.write { try $0.execute(sql: sql, arguments: arguments) }
  }

  private func addReplicas(_ path: String) throws {
    for (id, seen) in [("old", "2026-01-31 08:09:59.000"), ("new", "2026-01-31 08:10:01.000")] {
      let sql = "INSERT INTO replicas VALUES (?, 'http://' || ?, 'replica', ?, ?)"
      try execute(path, sql, [id, id, seen, seen])
    }
  }

  private func addBundle(_ path: String, _ cluster: Administration.NewCluster, _ data: Data?) throws
  {
    let sql = """
      INSERT INTO config_bundles (version, tenant_id, cluster_id, data, created_at)
      SELECT 1 + count(*), ?, ?, ?, '' FROM config_bundles
      """
    try execute(path, sql, [cluster.tenantID, cluster.clusterID, data ?? "text".databaseValue])
  }

  @Test func onlyServersNotHeardOfForSoLongArePruned() async throws {
    try await withDatabase { path, administration, _ in
      try addReplicas(path)
      for dryRun in [true, true, false] {
        let found = try await administration.pruneReplicas(olderThan: 300, dryRun: dryRun)
        #expect(found.map(\.id) == ["old"])
      }
      #expect(try await administration.pruneReplicas(olderThan: 300, dryRun: false) == [])
      let left = try await administration.pruneReplicas(olderThan: 0, dryRun: true)
      #expect(left.map(\.id) == ["new"])
    }
  }

  @Test func bundlesThatNoNodeCouldUseAreFound() async throws {
    try await withDatabase { path, administration, made in
      #expect(try await administration.verifyBundles(cluster: nil) == [])
      try addBundle(path, made, Data("no archive".utf8))
      try addBundle(path, made, nil)
      let found = try await administration.verifyBundles(cluster: made.clusterID)
      #expect(found.map(\.version) == [1, 2] && found.map(\.bytes) == [10, 0])
      #expect(found[0].problem?.contains("gzip") == true && found[1].problem != nil)
      await #expect(throws: AdministrationError.self) {
        try await administration.verifyBundles(cluster: "none")
      }
    }
  }

  @Test func compactingGivesRoomBack() async throws {
    try await withDatabase { path, administration, made in
      try addBundle(path, made, Data(count: 1 << 20))
      try execute(path, "DELETE FROM config_bundles", [])
      let done = try await administration.compact(analyzes: true)
      #expect(done.bytes_before - done.bytes_after > 1 << 20 - 65_536)
      let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int64
      #expect(size == done.bytes_after)
    }
  }

  @Test func aTokenLeadsToItsOwner() async throws {
    try await withDatabase { _, administration, made in
      let node = try await administration.owner(ofToken: made.nodeToken, hasher: hasher)
      #expect(node?.kind == "node" && node?.id == made.nodeID && node?.is_admin == true)
      let cluster = try await administration.owner(ofToken: made.clusterToken, hasher: hasher)
      #expect(cluster?.kind == "cluster" && cluster?.id == made.clusterID)
      let other = TokenHasher(secret: String(repeating: "o", count: 32))
      #expect(try await administration.owner(ofToken: made.nodeToken, hasher: other) == nil)
      for token in ["", "short", Token.make(), made.nodeToken + "x"] {
        #expect(try await administration.owner(ofToken: token, hasher: hasher) == nil)
      }
    }
  }

  /// Runs the program that is built beside the tests.
  private func run(_ path: String, _ arguments: [String], input: String = "") throws
    -> (code: Int32, output: String, errors: String)
  {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
      .deletingLastPathComponent().appendingPathComponent("nebulagc-server")
    process.arguments = ["util"] + arguments + ["--db", path]
    process.environment = ["NEBULAGC_HMAC_SECRET": LiveServer.secret]
    let (given, output, errors) = (Pipe(), Pipe(), Pipe())
    (process.standardInput, process.standardOutput, process.standardError) = (given, output, errors)
    try process.run()
    try given.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try given.fileHandleForWriting.close()
    let texts = try [output, errors].map { pipe in
      String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    }
    process.waitUntilExit()
    return (process.terminationStatus, texts[0], texts[1])
  }

  @Test func theProgramSaysWhatItFoundAndExitsAccordingly() async throws {
    try await withDatabase { path, _, made in
      for (token, id) in [(made.nodeToken, made.nodeID), (made.clusterToken, made.clusterID)] {
        for arguments in [["verify-token"], ["verify-token", "--json"]] {
          let good = try run(path, arguments, input: token + "\n")
          #expect(good.code == 0 && good.output.contains(id), "\(good)")
          #expect(!(good.output + good.errors).contains(token))
        }
      }
      let other = ["verify-token", "--node-id", "other"]
      #expect(try run(path, other, input: made.nodeToken + "\n").code == 1)
      let unknown = Token.make()
      let bad = try run(path, ["verify-token"], input: unknown + "\n")
      #expect(bad.code == 1 && bad.errors.contains("nobody") && bad.output.isEmpty)
      #expect(!bad.errors.contains(unknown))

      #expect(try run(path, ["verify-bundles"]).code == 0)
      try addBundle(path, made, Data("no archive".utf8))
      let bundles = try run(path, ["verify-bundles", "--json"])
      #expect(bundles.code == 1 && bundles.output.contains(#""version":1"#), "\(bundles)")

      try addReplicas(path)
      let pruned = try run(path, ["prune-replicas", "--dry-run"])
      #expect(pruned.code == 0 && pruned.output.contains("would_remove=2"), "\(pruned)")
      #expect(try run(path, ["prune-replicas", "--older-than", "-1"]).code == 64)
      #expect(try run(path, ["compact-db", "--json"]).output.contains("bytes_after"))

      // A path that was mistyped does not become a database.
      let none = try run(path + ".none", ["compact-db"])
      #expect(none.code == 1 && none.errors.contains("does not exist"), "\(none)")
      #expect(!FileManager.default.fileExists(atPath: path + ".none"))
    }
  }
}
