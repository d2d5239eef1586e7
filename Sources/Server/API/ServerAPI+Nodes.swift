import GRDB
import HTTPTypes
import Hummingbird

/// Nodes of a cluster: for its administrators.
extension ServerAPI {
  static let defaultMTU = 1300
  static let mtus = 1280...9000
  static let maximumName = 255
  static let defaultPage = 50
  static let maximumPage = 500

  struct NodeView: Encodable, Sendable {
    let node_id: String
    let name: String
    let is_admin: Bool
    let mtu: Int
    let is_lighthouse: Bool
    let is_relay: Bool
    let routes: [String]?
    let created_at: String
    let updated_at: String

    init(_ node: NodeRecord) {
      node_id = node.id
      name = node.name
      is_admin = node.isAdmin
      mtu = node.mtu
      is_lighthouse = node.isLighthouse
      is_relay = node.isRelay
      routes = node.routes.isEmpty ? nil : node.routes
      created_at = Timestamp.json(node.createdAt)
      updated_at = Timestamp.json(node.updatedAt)
    }
  }

  private struct Page: Encodable {
    let cluster_id: String
    let nodes: [NodeView]
    let total: Int
    let page: Int
    let per_page: Int
  }

  private struct Creation: Decodable {
    var name: String
    var is_admin: Bool?
    var mtu: Int?
  }

  private struct Created: Encodable {
    let node_id: String
    let node_token: String
    let cluster_token: String
    let created_at: String
  }

  private struct MTUChange: Decodable { var mtu: Int }

  private struct Rotated: Encodable {
    let node_id: String
    let node_token: String
    let rotated_at: String
  }

  func addNodes(to group: RouterGroup<Context>) {
    group.get { request, _ in try await listNodes(request) }
    group.post { request, _ in try await createNode(request) }
    group.patch(":id/mtu") { request, context in
      try await changeMTU(request, try context.parameters.require("id"))
    }
    group.post(":id/token") { request, context in
      try await rotateNodeToken(request, try context.parameters.require("id"))
    }
    group.delete(":id") { request, context in
      try await deleteNode(request, try context.parameters.require("id"))
    }
  }

  private func listNodes(_ request: Request) async throws -> Response {
    // Rubbish falls back to the defaults, as clients have been used to.
    func number(_ name: Substring, _ otherwise: Int, _ most: Int) -> Int {
      guard let value = request.uri.queryParameters[name].flatMap({ Int($0) }), value > 0 else {
        return otherwise
      }
      return min(value, most)
    }
    let page = number("page", 1, Int(Int32.max))
    let size = number("page_size", Self.defaultPage, Self.maximumPage)
    let (cluster, found) = try await readAsNode(request, .nodes, admin: true) { database, caller in
      (
        caller.clusterID,
        try NodeQueries.page(database, cluster: caller.clusterID, page: page, size: size)
      )
    }
    return try Answer.data(
      Page(
        cluster_id: cluster,
        nodes: found.nodes.map(NodeView.init),
        total: found.total,
        page: page,
        per_page: size
      )
    )
  }

  private func createNode(_ request: Request) async throws -> Response {
    let writer = try await nodeWriter(request, .nodes, admin: true)
    let wanted = try await decode(request, Creation.self)
    let name = try Self.checkedName(wanted.name)
    let mtu = try Self.checkedMTU(wanted.mtu == 0 ? nil : wanted.mtu) ?? Self.defaultMTU
    let clusterToken = request.headers[.clusterToken]
    let clusterHash = try clusterToken.map { _ in try tokenHash(request, .clusterToken) }
    let token = Token.make()
    let (hash, now) = (hasher.hash(token), now)
    let id = try await writeAsNode(writer) { database, caller in
      if let clusterHash {
        let named = try ClusterQueries.byToken(database, hash: clusterHash)
        guard named?.0.id == caller.clusterID else { throw APIError.unauthorized }
      }
      let node = NodeQueries.New(
        tenant: caller.tenantID,
        cluster: caller.clusterID,
        name: name,
        isAdmin: wanted.is_admin ?? false,
        mtu: mtu,
        tokenHash: hash,
        now: now
      )
      try NodeQueries.insert(database, node)
      try ClusterQueries.bumpVersion(database, caller.clusterID)
      return node.id
    }
    return try Answer.data(
      Created(
        node_id: id,
        node_token: token,
        cluster_token: clusterToken ?? "",
        created_at: Timestamp.json(now)
      ),
      status: .created
    )
  }

  private func changeMTU(_ request: Request, _ id: String) async throws -> Response {
    let writer = try await nodeWriter(request, .nodes, admin: true)
    let mtu = try Self.checkedMTU(try await decode(request, MTUChange.self).mtu)
    let now = now
    let node = try await writeAsNode(writer) { database, caller in
      try NodeQueries.update(
        database,
        id,
        cluster: caller.clusterID,
        set: "mtu = ?",
        [mtu],
        now: now
      )
      try ClusterQueries.bumpVersion(database, caller.clusterID)
      return try NodeQueries.find(database, id, cluster: caller.clusterID)
    }
    return try Answer.data(NodeView(node))
  }

  private func rotateNodeToken(_ request: Request, _ id: String) async throws -> Response {
    let writer = try await nodeWriter(request, .nodes, admin: true)
    let token = Token.make()
    let (hash, now) = (hasher.hash(token), now)
    try await writeAsNode(writer) { database, caller in
      try NodeQueries.update(
        database,
        id,
        cluster: caller.clusterID,
        set: "token_hash = ?",
        [hash],
        now: now
      )
      try ClusterQueries.bumpVersion(database, caller.clusterID)
    }
    return try Answer.data(
      Rotated(node_id: id, node_token: token, rotated_at: Timestamp.json(now))
    )
  }

  private func deleteNode(_ request: Request, _ id: String) async throws -> Response {
    let writer = try await nodeWriter(request, .nodes, admin: true)
    try await writeAsNode(writer) { database, caller in
      try NodeQueries.delete(database, id, cluster: caller.clusterID)
      try ClusterQueries.bumpVersion(database, caller.clusterID)
    }
    return Response(status: .noContent)
  }

  static func checkedName(_ name: String) throws -> String {
    guard (1...maximumName).contains(name.count) else {
      throw APIError.invalid("the field \"name\" must have from 1 to \(maximumName) characters")
    }
    guard name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
      throw APIError.invalid("the field \"name\" must not have control characters")
    }
    return name
  }

  private static func checkedMTU(_ mtu: Int?) throws -> Int? {
    guard let mtu else { return nil }
    guard mtus.contains(mtu) else {
      throw APIError.invalid(
        "the field \"mtu\" must be from \(mtus.lowerBound) to \(mtus.upperBound)"
      )
    }
    return mtu
  }
}
