import Foundation
import GRDB

/// What is asked and changed about clusters and their configuration bundles, within a transaction of the caller.
enum ClusterQueries {
  static func byToken(_ database: Database, hash: String) throws -> (ClusterRecord, String)? {
    let row = try Row.fetchOne(
      database.cachedStatement(
        sql: """
          SELECT \(ClusterRecord.columns), cluster_token_hash FROM clusters
          WHERE cluster_token_hash = ?
          """
      ),
      arguments: [hash]
    )
    return row.map { (ClusterRecord($0), $0.text(4)) }
  }

  static func find(_ database: Database, _ id: String) throws -> ClusterRecord {
    let row = try Row.fetchOne(
      database.cachedStatement(sql: "SELECT \(ClusterRecord.columns) FROM clusters WHERE id = ?"),
      arguments: [id]
    )
    guard let row else { throw APIError.notFound("cluster \(id)") }
    return ClusterRecord(row)
  }

  /// One more change that nodes have to learn of.
  /// - Returns: the new version.
  @discardableResult
  static func bumpVersion(_ database: Database, _ id: String) throws -> Int64 {
    let version = try Int64.fetchOne(
      database.cachedStatement(
        sql: """
          UPDATE clusters SET config_version = config_version + 1 WHERE id = ?
          RETURNING config_version
          """
      ),
      arguments: [id]
    )
    guard let version else { throw APIError.notFound("cluster \(id)") }
    return version
  }

  static func setToken(_ database: Database, _ id: String, hash: String) throws {
    try database.execute(
      sql: "UPDATE clusters SET cluster_token_hash = ? WHERE id = ?",
      arguments: [hash, id]
    )
    guard database.changesCount > 0 else { throw APIError.notFound("cluster \(id)") }
  }

  static func insertBundle(
    _ database: Database,
    cluster: ClusterRecord,
    version: Int64,
    data: Data,
    by node: String,
    now: String
  ) throws {
    try database.execute(
      sql: """
        INSERT INTO config_bundles (version, tenant_id, cluster_id, data, created_by, created_at)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
      arguments: [version, cluster.tenantID, cluster.id, data, node, now]
    )
    try database.execute(
      sql: """
        DELETE FROM config_bundles WHERE cluster_id = ? AND version NOT IN
          (SELECT version FROM config_bundles WHERE cluster_id = ? ORDER BY version DESC LIMIT ?)
        """,
      arguments: [cluster.id, cluster.id, keptBundles]
    )
  }

  /// Bundles of a cluster that are kept; older ones nobody can ask for.
  static let keptBundles = 10

  static func newestBundleVersion(_ database: Database, _ cluster: String) throws -> Int64? {
    try Int64.fetchOne(
      database.cachedStatement(
        sql: "SELECT max(version) FROM config_bundles WHERE cluster_id = ?"
      ),
      arguments: [cluster]
    )
  }

  static func bundle(_ database: Database, _ cluster: String, version: Int64) throws -> Data? {
    try Data.fetchOne(
      database,
      sql: "SELECT data FROM config_bundles WHERE cluster_id = ? AND version = ?",
      arguments: [cluster, version]
    )
  }
}
