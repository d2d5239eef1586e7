import Foundation
import GRDB

/// What an operator looks after in a database that there is: leftovers, damage, size, and whose a token is.
extension Administration {
  package struct Replica: Encodable, Sendable, Equatable {
    package let id: String
    package let address: String
    package let role: String
    package let last_seen_at: String
  }

  package struct CheckedBundle: Encodable, Sendable, Equatable {
    package let cluster_id: String
    package let version: Int64
    package let bytes: Int
    /// What is wrong with it; nil for nothing.
    package let problem: String?
  }

  package struct Compaction: Encodable, Sendable {
    package let bytes_before: Int64
    package let bytes_after: Int64
  }

  package struct TokenOwner: Encodable, Sendable, Equatable {
    /// `node` or `cluster`.
    package let kind: String
    package let id: String
    package let name: String
    package let cluster_id: String
    package let tenant_id: String
    package let is_admin: Bool
  }

  /// Removes the rows of servers that were not heard of for so long. One that runs comes back with its next heartbeat.
  /// - Returns: the rows, which are still there after a dry run.
  package func pruneReplicas(olderThan seconds: Double, dryRun: Bool) async throws -> [Replica] {
    let limit = Timestamp.text(clock.now() - seconds)
    let find: @Sendable (Database) throws -> [Replica] = { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT id, address, role, last_seen_at FROM replicas WHERE last_seen_at < ?
          ORDER BY last_seen_at, id
          """,
        arguments: [limit]
      ).map { row in
        Replica(id: row.text(0), address: row.text(1), role: row.text(2), last_seen_at: row.text(3))
      }
    }
    if dryRun { return try await storage.read(find) }
    return try await perform { database in
      let found = try find(database)
      try database.execute(sql: "DELETE FROM replicas WHERE last_seen_at < ?", arguments: [limit])
      return found
    }
  }

  /// Checks all bundles, or those of one cluster, as they are checked when they are uploaded.
  package func verifyBundles(cluster: String?) async throws -> [CheckedBundle] {
    let keys = try await storage.read { database in
      if let cluster {
        let isThere = try Row.fetchOne(
          database,
          sql: "SELECT 1 FROM clusters WHERE id = ?",
          arguments: [cluster]
        )
        guard isThere != nil else {
          throw AdministrationError("there is no cluster with the id \(cluster)")
        }
      }
      return try Row.fetchAll(
        database,
        sql: """
          SELECT cluster_id, version, rowid FROM config_bundles WHERE cluster_id = ? OR ? IS NULL
          ORDER BY cluster_id, version
          """,
        arguments: [cluster, cluster]
      ).map { (cluster: $0.text(0), version: $0.number(1), row: $0.number(2)) }
    }
    var checked: [CheckedBundle] = []
    // One at a time: each may have ten megabytes.
    for key in keys {
      let value = try await storage.read { database in
        try DatabaseValue.fetchOne(
          database,
          sql: "SELECT data FROM config_bundles WHERE rowid = ?",
          arguments: [key.row]
        )
      }
      // Removed meanwhile.
      guard let value else { continue }
      let (bytes, problem) = Self.check(value)
      checked.append(
        CheckedBundle(
          cluster_id: key.cluster,
          version: key.version,
          bytes: bytes,
          problem: problem
        )
      )
    }
    return checked
  }

  private static func check(_ value: DatabaseValue) -> (bytes: Int, problem: String?) {
    guard case .blob(let data) = value.storage else {
      return (0, "what is stored is no blob")
    }
    do {
      try BundleArchive.check(data)
      return (data.count, nil)
    } catch {
      return (data.count, (error as? APIError)?.message ?? "\(error)")
    }
  }

  /// Gives the room of what was deleted back to the file system.
  package func compact(analyzes: Bool) async throws -> Compaction {
    try await explaining {
      let before = try await storage.size()
      try await storage.compact(analyzes: analyzes)
      return Compaction(bytes_before: before, bytes_after: try await storage.size())
    }
  }

  /// Whom a token lets in; nil for nobody.
  package func owner(ofToken token: String, hasher: TokenHasher) async throws -> TokenOwner? {
    guard Token.isPossible(token) else { return nil }
    let hash = hasher.hash(token)
    return try await storage.read { database in
      if let (node, _) = try NodeQueries.byToken(database, hash: hash) {
        return TokenOwner(
          kind: "node",
          id: node.id,
          name: node.name,
          cluster_id: node.clusterID,
          tenant_id: node.tenantID,
          is_admin: node.isAdmin
        )
      }
      return try ClusterQueries.byToken(database, hash: hash).map { cluster, _ in
        TokenOwner(
          kind: "cluster",
          id: cluster.id,
          name: cluster.name,
          cluster_id: cluster.id,
          tenant_id: cluster.tenantID,
          is_admin: false
        )
      }
    }
  }
}
