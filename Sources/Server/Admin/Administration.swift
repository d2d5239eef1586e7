import Foundation
import GRDB
package import Logging

/// What an operator does beside the servers, on the database itself: tenants, clusters and their first nodes.
///
/// Tokens are returned once and kept nowhere.
package struct Administration: Sendable {
  let storage: Storage
  let clock: ServerClock

  /// - Parameter makesTables: whether a file that does not exist or has no tables becomes a database.
  /// - Throws: whatever keeps the database from being opened, as an `AdministrationError`.
  package init(
    database: String,
    makesTables: Bool = true,
    logger: Logger,
    clock: ServerClock = .system
  ) throws {
    do {
      storage = try StorageOpener(path: database, logger: logger).open(makesTables: makesTables)
    } catch {
      let isThere = FileManager.default.fileExists(atPath: database)
      throw AdministrationError(StorageOpener.reason(error, database, isThere: isThere))
    }
    self.clock = clock
  }

  package struct NewCluster: Sendable {
    package let tenantID: String
    package let clusterID: String
    package let clusterToken: String
    package let nodeID: String
    package let nodeToken: String
  }

  package struct Listed: Sendable {
    package let tenantID: String
    package let tenant: String
    package let clusterID: String?
    package let cluster: String?
    package let nodes: Int
  }

  /// - Returns: the id.
  package func createTenant(_ name: String) async throws -> String {
    let (id, now) = (UUID().uuidString.lowercased(), Timestamp.text(clock.now()))
    try await perform { database in
      let name = try ServerAPI.checkedName(name)
      guard try Self.tenants(database, name).isEmpty else {
        throw AdministrationError("there is a tenant named \"\(name)\" already")
      }
      try database.execute(
        sql: "INSERT INTO tenants (id, name, created_at) VALUES (?, ?, ?)",
        arguments: [id, name, now]
      )
    }
    return id
  }

  /// Makes a cluster and its first node, an administrator.
  /// - Parameter tenant: its name or id.
  package func createCluster(
    _ name: String,
    tenant: String,
    node nodeName: String,
    hasher: TokenHasher
  ) async throws -> NewCluster {
    let (clusterToken, nodeToken) = (Token.make(), Token.make())
    let (clusterID, now) = (UUID().uuidString.lowercased(), Timestamp.text(clock.now()))
    return try await perform { database in
      let tenant = try Self.onlyTenant(database, tenant)
      do {
        try database.execute(
          sql: """
            INSERT INTO clusters (id, tenant_id, name, cluster_token_hash, created_at)
            VALUES (?, ?, ?, ?, ?)
            """,
          arguments: [
            clusterID, tenant, try ServerAPI.checkedName(name), hasher.hash(clusterToken), now,
          ]
        )
      } catch let error as DatabaseError
        where error.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE
      {
        throw AdministrationError("the tenant has a cluster named \"\(name)\" already")
      }
      let node = NodeQueries.New(
        tenant: tenant,
        cluster: clusterID,
        name: try ServerAPI.checkedName(nodeName),
        isAdmin: true,
        mtu: ServerAPI.defaultMTU,
        tokenHash: hasher.hash(nodeToken),
        now: now
      )
      try NodeQueries.insert(database, node)
      return NewCluster(
        tenantID: tenant,
        clusterID: clusterID,
        clusterToken: clusterToken,
        nodeID: node.id,
        nodeToken: nodeToken
      )
    }
  }

  /// All tenants with their clusters.
  package func list() async throws -> [Listed] {
    try await storage.read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT t.id, t.name, c.id, c.name, (SELECT count(*) FROM nodes WHERE cluster_id = c.id)
          FROM tenants t LEFT JOIN clusters c ON c.tenant_id = t.id ORDER BY t.name, c.name
          """
      ).map { row in
        Listed(
          tenantID: row.text(0),
          tenant: row.text(1),
          clusterID: row.text(2).isEmpty ? nil : row.text(2),
          cluster: row.text(3),
          nodes: Int(row.number(4))
        )
      }
    }
  }

  /// A new token for a node whose own was lost.
  package func replaceNodeToken(_ node: String, hasher: TokenHasher) async throws -> String {
    let (token, now) = (Token.make(), Timestamp.text(clock.now()))
    try await perform { database in
      let cluster = try String.fetchOne(
        database,
        sql: "SELECT cluster_id FROM nodes WHERE id = ?",
        arguments: [node]
      )
      guard let cluster else { throw AdministrationError("there is no node with the id \(node)") }
      try NodeQueries.update(
        database,
        node,
        cluster: cluster,
        set: "token_hash = ?",
        [hasher.hash(token)],
        now: now
      )
      try ClusterQueries.bumpVersion(database, cluster)
    }
    return token
  }

  func perform<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    try await explaining { try await storage.write(body) }
  }

  func explaining<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
    do {
      return try await body()
    } catch let error as APIError {
      throw AdministrationError(error.message)
    } catch let error as DatabaseError where error.resultCode == .SQLITE_READONLY {
      throw AdministrationError("this node may not write; run the command on the master")
    } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
      throw AdministrationError("the database is in use; nothing was changed, try again")
    }
  }

  private static func tenants(_ database: Database, _ name: String) throws -> [String] {
    try String.fetchAll(
      database,
      sql: "SELECT id FROM tenants WHERE name = ? OR id = ?",
      arguments: [name, name]
    )
  }

  private static func onlyTenant(_ database: Database, _ name: String) throws -> String {
    let found = try tenants(database, name)
    guard found.count <= 1 else {
      throw AdministrationError("several tenants are named \"\(name)\"; give the id")
    }
    guard let id = found.first else {
      throw AdministrationError(
        "there is no tenant \"\(name)\"; make it with: nebulagc-server admin tenant \(name)"
      )
    }
    return id
  }
}

/// Why an operator's command did nothing.
package struct AdministrationError: Error, CustomStringConvertible {
  package let description: String

  init(_ description: String) { self.description = description }
}
