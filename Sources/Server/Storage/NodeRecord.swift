import Foundation
import GRDB

/// A row of `nodes`.
struct NodeRecord: Sendable {
  var id: String
  var tenantID: String
  var clusterID: String
  var name: String
  var isAdmin: Bool
  var mtu: Int
  /// Networks behind the node.
  var routes: [String]
  var isLighthouse: Bool
  /// Empty for none.
  var publicIP: String
  /// 0 for none.
  var port: Int
  var isRelay: Bool
  var createdAt: String
  var updatedAt: String

  static let columns = """
    id, tenant_id, cluster_id, name, is_admin, mtu, routes, is_lighthouse, lighthouse_public_ip, \
    lighthouse_port, is_relay, created_at, updated_at
    """

  init(_ row: Row) {
    id = row.text(0)
    tenantID = row.text(1)
    clusterID = row.text(2)
    name = row.text(3)
    isAdmin = row.number(4) != 0
    mtu = Int(row.number(5))
    routes = Self.routes(row.text(6))
    isLighthouse = row.number(7) != 0
    publicIP = row.text(8)
    port = Int(row.number(9))
    isRelay = row.number(10) != 0
    createdAt = row.text(11)
    let updated = row.text(12)
    updatedAt = updated.isEmpty ? createdAt : updated
  }

  static func routes(_ text: String) -> [String] {
    guard !text.isEmpty else { return [] }
    return (try? JSONDecoder().decode([String].self, from: Data(text.utf8))) ?? []
  }
}

/// A row of `clusters`, without its keys.
struct ClusterRecord: Sendable {
  var id: String
  var tenantID: String
  var name: String
  var configVersion: Int64

  static let columns = "id, tenant_id, name, config_version"

  init(_ row: Row) {
    id = row.text(0)
    tenantID = row.text(1)
    name = row.text(2)
    configVersion = row.number(3)
  }
}

/// Columns as they are needed. SQLite keeps any type in any column, and other programs write to these tables, too: what
/// is of another type must not end the server, as GRDB's own subscripts would.
extension Row {
  /// Numbers as text; empty for NULL and for blobs.
  func text(_ column: Int) -> String {
    switch (self[column] as DatabaseValue).storage {
    case .string(let text): text
    case .int64(let number): String(number)
    case .double(let number): String(number)
    case .null, .blob: ""
    }
  }

  /// 0 for what is no whole number.
  func number(_ column: Int) -> Int64 {
    switch (self[column] as DatabaseValue).storage {
    case .int64(let number): number
    case .double(let number): Int64(exactly: number) ?? 0
    case .string(let text): Int64(text) ?? 0
    case .null, .blob: 0
    }
  }
}
