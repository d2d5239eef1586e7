import Foundation
import GRDB
import HTTPTypes
import Hummingbird

/// Who lights the way, who relays, and which networks lie behind whom; and the token that all of it hangs on.
extension ServerAPI {
  private struct Lighthouse: Encodable, Sendable {
    let node_id: String
    let name: String
    let public_ip: String
    let port: Int
  }

  private struct Relay: Encodable, Sendable {
    let node_id: String
    let name: String
  }

  private struct Topology: Encodable, Sendable {
    let lighthouses: [Lighthouse]
    let relays: [Relay]
    let routes: [String: [String]]
  }

  private struct NewLighthouse: Decodable {
    var node_id: String
    var public_ip: String
    var port: Int?
  }

  private struct NewRelay: Decodable { var node_id: String }
  private struct NewRoutes: Decodable { var routes: [String]? }
  private struct Routes: Encodable { let routes: [String] }
  private struct ClusterRoutes: Encodable { let routes: [String: [String]] }
  private struct NewToken: Encodable {
    let token: String
    let message: String
  }

  /// Routes of one node.
  static let maximumRoutes = 256

  func addTopology(to group: RouterGroup<Context>) {
    group.get { request, _ in try await topology(request) }
    group.post("lighthouse") { request, _ in try await setLighthouse(request) }
    group.delete("lighthouse/:id") { request, context in
      let id = try context.parameters.require("id")
      return try await change(
        try await clusterWriter(request),
        id,
        "is_lighthouse = 0, lighthouse_public_ip = NULL, lighthouse_port = NULL",
        [],
        if: "is_lighthouse",
        "lighthouse removed"
      )
    }
    group.post("relay") { request, _ in
      let writer = try await clusterWriter(request)
      let wanted = try await decode(request, NewRelay.self)
      return try await change(writer, wanted.node_id, "is_relay = 1", [], "relay set")
    }
    group.delete("relay/:id") { request, context in
      let id = try context.parameters.require("id")
      let writer = try await clusterWriter(request)
      return try await change(writer, id, "is_relay = 0", [], if: "is_relay", "relay removed")
    }
  }

  func addRoutes(to group: RouterGroup<Context>) {
    group.get { request, _ in
      let routes = try await readAsNode(request, .routes) { _, caller in caller.routes }
      return try Answer.data(Routes(routes: routes))
    }
    group.put { request, _ in try await setRoutes(request) }
    group.get("cluster") { request, _ in
      let routes = try await readAsNode(request, .routes) { database, caller in
        try Self.routes(database, caller.clusterID)
      }
      return try Answer.data(ClusterRoutes(routes: routes))
    }
  }

  private func topology(_ request: Request) async throws -> Response {
    let topology = try await readAsCluster(request) { database, cluster in
      Topology(
        lighthouses: try NodeQueries.all(database, cluster: cluster.id, where: "is_lighthouse")
          .map { node in
            Lighthouse(
              node_id: node.id,
              name: node.name,
              public_ip: node.publicIP,
              port: node.port
            )
          },
        relays: try NodeQueries.all(database, cluster: cluster.id, where: "is_relay")
          .map { Relay(node_id: $0.id, name: $0.name) },
        routes: try Self.routes(database, cluster.id)
      )
    }
    return try Answer.data(topology)
  }

  private static func routes(_ database: Database, _ cluster: String) throws -> [String: [String]] {
    let nodes = try NodeQueries.all(database, cluster: cluster, where: "routes IS NOT NULL")
    return Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.routes) })
      .filter { !$0.value.isEmpty }
  }

  private func setLighthouse(_ request: Request) async throws -> Response {
    let writer = try await clusterWriter(request)
    let wanted = try await decode(request, NewLighthouse.self)
    guard CIDR.bytes(of: wanted.public_ip) != nil else {
      throw APIError.unprocessable("the field \"public_ip\" must be an IPv4 or IPv6 address")
    }
    guard (0...65535).contains(wanted.port ?? 0) else {
      throw APIError.unprocessable("the field \"port\" must be from 0 to 65535")
    }
    return try await change(
      writer,
      wanted.node_id,
      "is_lighthouse = 1, lighthouse_public_ip = ?, lighthouse_port = ?",
      [wanted.public_ip, wanted.port ?? 0],
      "lighthouse set"
    )
  }

  /// Changes a node in the topology of the caller's cluster.
  /// - Parameter condition: what has to hold of the node before; 404 when it does not.
  private func change(
    _ writer: Writer,
    _ id: String,
    _ columns: String,
    _ arguments: StatementArguments,
    if condition: String = "TRUE",
    _ message: String
  ) async throws -> Response {
    let now = now
    try await writeAsCluster(writer) { database, cluster in
      try NodeQueries.update(
        database,
        id,
        cluster: cluster.id,
        set: columns,
        arguments,
        if: condition,
        now: now
      )
      try ClusterQueries.bumpVersion(database, cluster.id)
    }
    return try Answer.message(message)
  }

  private func setRoutes(_ request: Request) async throws -> Response {
    let writer = try await nodeWriter(request, .routes)
    let routes = try await decode(request, NewRoutes.self).routes ?? []
    guard routes.count <= Self.maximumRoutes else {
      throw APIError.unprocessable("a node has at most \(Self.maximumRoutes) routes")
    }
    if let wrong = routes.first(where: { CIDR($0) == nil }) {
      throw APIError.unprocessable("\"\(wrong.prefix(64))\" is no network as 10.1.0.0/16")
    }
    let text =
      routes.isEmpty ? nil : String(decoding: try JSONEncoder().encode(routes), as: UTF8.self)
    let now = now
    try await writeAsNode(writer) { database, caller in
      try NodeQueries.update(
        database,
        caller.id,
        cluster: caller.clusterID,
        set: "routes = ?",
        [text],
        now: now
      )
      try ClusterQueries.bumpVersion(database, caller.clusterID)
    }
    return try Answer.message("routes updated")
  }

  func rotateClusterToken(_ request: Request) async throws -> Response {
    let writer = try await clusterWriter(request)
    let token = Token.make()
    let hash = hasher.hash(token)
    try await writeAsCluster(writer) { database, cluster in
      try ClusterQueries.setToken(database, cluster.id, hash: hash)
    }
    return try Answer.data(NewToken(token: token, message: "the old token is no longer valid"))
  }
}
