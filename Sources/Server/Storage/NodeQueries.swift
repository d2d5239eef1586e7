import Foundation
import GRDB

/// What is asked and changed about nodes. Every function runs within a transaction of the caller.
enum NodeQueries {
  private static let byTokenSQL =
    "SELECT \(NodeRecord.columns), token_hash FROM nodes WHERE token_hash = ?"

  static func byToken(_ database: Database, hash: String) throws -> (NodeRecord, String)? {
    let row = try Row.fetchOne(
      database.cachedStatement(sql: byTokenSQL),
      arguments: [hash]
    )
    return row.map { (NodeRecord($0), $0.text(13)) }
  }

  static func find(_ database: Database, _ id: String, cluster: String) throws -> NodeRecord {
    let row = try Row.fetchOne(
      database.cachedStatement(
        sql: "SELECT \(NodeRecord.columns) FROM nodes WHERE id = ? AND cluster_id = ?"
      ),
      arguments: [id, cluster]
    )
    guard let row else { throw APIError.notFound("node \(id)") }
    return NodeRecord(row)
  }

  private static let pageSQL = """
    SELECT \(NodeRecord.columns) FROM nodes WHERE cluster_id = ?
    ORDER BY created_at, id LIMIT ? OFFSET ?
    """

  /// One page in the order in which the nodes came, and how many there are.
  static func page(
    _ database: Database,
    cluster: String,
    page: Int,
    size: Int
  ) throws -> (nodes: [NodeRecord], total: Int) {
    let before = (page - 1) * size
    let rows = try Row.fetchAll(
      database.cachedStatement(sql: pageSQL),
      arguments: [cluster, size, before]
    )
    let nodes = rows.map(NodeRecord.init)
    // The last page says it itself, and an empty one is no page.
    if nodes.count < size, !nodes.isEmpty { return (nodes, before + nodes.count) }
    let total = try Int.fetchOne(
      database.cachedStatement(sql: "SELECT count(*) FROM nodes WHERE cluster_id = ?"),
      arguments: [cluster]
    )
    return (nodes, total ?? 0)
  }

  struct New: Sendable {
    var id = UUID().uuidString.lowercased()
    var tenant: String
    var cluster: String
    var name: String
    var isAdmin: Bool
    var mtu: Int
    var tokenHash: String
    var now: String
  }

  /// - Throws: `APIError.conflict` when the cluster has a node of that name.
  static func insert(_ database: Database, _ node: New) throws {
    do {
      try database.cachedStatement(
        sql: """
          INSERT INTO nodes (id, tenant_id, cluster_id, name, is_admin, token_hash, mtu, created_at, updated_at)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
          """
      ).execute(arguments: [
        node.id, node.tenant, node.cluster, node.name, node.isAdmin, node.tokenHash, node.mtu,
        node.now, node.now,
      ])
    } catch let error as DatabaseError where error.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE {
      throw APIError.conflict("the cluster has a node named \"\(node.name)\"")
    }
  }

  /// Sets columns of a node of a cluster.
  /// - Parameter condition: what has to hold of the node before.
  /// - Throws: `APIError.notFound`, also where the condition does not hold.
  static func update(
    _ database: Database,
    _ id: String,
    cluster: String,
    set columns: String,
    _ arguments: StatementArguments,
    if condition: String = "TRUE",
    now: String
  ) throws {
    try database.execute(
      sql: """
        UPDATE nodes SET \(columns), updated_at = ?
        WHERE id = ? AND cluster_id = ? AND \(condition)
        """,
      arguments: arguments + [now, id, cluster]
    )
    guard database.changesCount > 0 else { throw APIError.notFound("node \(id)") }
  }

  static func delete(_ database: Database, _ id: String, cluster: String) throws {
    try database.execute(
      sql: "DELETE FROM nodes WHERE id = ? AND cluster_id = ?",
      arguments: [id, cluster]
    )
    guard database.changesCount > 0 else { throw APIError.notFound("node \(id)") }
  }

  /// All nodes of a cluster for which a condition holds.
  static func all(_ database: Database, cluster: String, where condition: String) throws
    -> [NodeRecord]
  {
    try Row.fetchAll(
      database,
      sql: """
        SELECT \(NodeRecord.columns) FROM nodes WHERE cluster_id = ? AND \(condition)
        ORDER BY created_at, id
        """,
      arguments: [cluster]
    ).map(NodeRecord.init)
  }
}
