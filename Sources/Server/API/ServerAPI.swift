import Foundation
import GRDB
import HTTPTypes
import Hummingbird
import NIOCore

/// What all endpoints need, and how callers are recognised. The endpoints themselves are in extensions.
struct ServerAPI: Sendable {
  typealias Context = ServerRequestContext

  /// Bytes of a JSON body; none of ours comes near.
  static let maximumBody = 64 << 10

  let configuration: ServerConfiguration
  let access: DatabaseAccess
  let hasher: TokenHasher
  let limiter: MeteredLimiter
  let status: HAStatus
  let metrics: ServerMetrics
  let clock: ServerClock

  func add(to router: Router<Context>) {
    addHealth(to: router)
    addNodes(to: router.group("/api/v1/nodes"))
    addConfig(to: router.group("/api/v1/config"))
    addTopology(to: router.group("/api/v1/topology"))
    addRoutes(to: router.group("/api/v1/routes"))
    router.post("/api/v1/tokens/cluster/rotate") { request, _ in
      try await rotateClusterToken(request)
    }
  }

  var now: String { Timestamp.text(clock.now()) }

  // MARK: - Callers

  /// Reads as the node whose token the request bears.
  func readAsNode<Value: Sendable>(
    _ request: Request,
    _ kind: RateLimits.Kind,
    admin: Bool = false,
    _ body: @escaping @Sendable (Database, NodeRecord) throws -> Value
  ) async throws -> Value {
    let hash = try tokenHash(request, .nodeToken)
    return try await access.read { database in
      try body(database, try node(database, hash, kind, admin))
    }
  }

  func readAsCluster<Value: Sendable>(
    _ request: Request,
    _ body: @escaping @Sendable (Database, ClusterRecord) throws -> Value
  ) async throws -> Value {
    let hash = try tokenHash(request, .clusterToken)
    return try await access.read { database in
      try body(database, try cluster(database, hash))
    }
  }

  /// Somebody who may make a change. Known before the body of the request is looked at, since nobody without a token
  /// may make the server read or write, and looked up again in the transaction that does the work, since the
  /// token may have been rotated meanwhile.
  struct Writer: Sendable {
    fileprivate let hash: String
    fileprivate let admin: Bool
  }

  func nodeWriter(
    _ request: Request,
    _ kind: RateLimits.Kind,
    admin: Bool = false
  ) async throws -> Writer {
    let hash = try tokenHash(request, .nodeToken)
    _ = try await access.read { try node($0, hash, kind, admin) }
    return Writer(hash: hash, admin: admin)
  }

  func clusterWriter(_ request: Request) async throws -> Writer {
    let hash = try tokenHash(request, .clusterToken)
    _ = try await access.read { try cluster($0, hash) }
    return Writer(hash: hash, admin: false)
  }

  func writeAsNode<Value: Sendable>(
    _ writer: Writer,
    _ body: @escaping @Sendable (Database, NodeRecord) throws -> Value
  ) async throws -> Value {
    try await write { database in
      try body(database, try node(database, writer.hash, nil, writer.admin))
    }
  }

  func writeAsCluster<Value: Sendable>(
    _ writer: Writer,
    _ body: @escaping @Sendable (Database, ClusterRecord) throws -> Value
  ) async throws -> Value {
    try await write { database in
      try body(database, try cluster(database, writer.hash, isLimited: false))
    }
  }

  private func write<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    // Rather than that its writers wait for what may never come: others may have a master.
    if status.standing.isInDoubt {
      status.wishForHeartbeat()
      throw APIError.masterInDoubt
    }
    do {
      return try await access.write(body)
    } catch let error as DatabaseError {
      if error.resultCode == .SQLITE_READONLY { status.update { $0.failedToWrite() } }
      // Whether this is still the master shows in a write that nobody waits for.
      if error.resultCode != .SQLITE_CONSTRAINT { status.wishForHeartbeat() }
      throw error
    } catch let error as StorageError {
      // Until a heartbeat shows otherwise, this is not where writes go.
      if case .outcomeUnknown = error { status.update { $0.failedToWrite() } }
      status.wishForHeartbeat()
      throw error
    }
  }

  private func node(
    _ database: Database,
    _ hash: String,
    _ kind: RateLimits.Kind?,
    _ admin: Bool
  ) throws -> NodeRecord {
    guard let (node, stored) = try NodeQueries.byToken(database, hash: hash),
      TokenHasher.isSame(hash, stored)
    else { throw APIError.unauthorized }
    if let kind { try limiter.check(kind, node.id) }
    guard node.isAdmin || !admin else { throw APIError.forbidden }
    return node
  }

  private func cluster(
    _ database: Database,
    _ hash: String,
    isLimited: Bool = true
  ) throws -> ClusterRecord {
    guard let (cluster, stored) = try ClusterQueries.byToken(database, hash: hash),
      TokenHasher.isSame(hash, stored)
    else { throw APIError.unauthorized }
    if isLimited { try limiter.check(.topology, cluster.id) }
    return cluster
  }

  /// The hash of the token in the header of that name or in `Authorization: Bearer`.
  /// - Throws: `APIError.unauthorized` when there is none that could be one.
  func tokenHash(_ request: Request, _ name: HTTPField.Name) throws -> String {
    guard let token = request.headers[name] ?? bearer(request), Token.isPossible(token) else {
      throw APIError.unauthorized
    }
    return hasher.hash(token)
  }

  private func bearer(_ request: Request) -> String? {
    guard let value = request.headers[.authorization] else { return nil }
    let parts = value.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
    return String(parts[1]).trimmingCharacters(in: .whitespaces)
  }

  // MARK: - Bodies

  func body(_ request: Request, upTo limit: Int, _ code: String) async throws -> ByteBuffer {
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
      throw APIError.tooLarge(code, limit)
    }
    do {
      return try await request.body.collect(upTo: limit)
    } catch is NIOTooManyBytesError {
      throw APIError.tooLarge(code, limit)
    }
  }

  func decode<Value: Decodable>(_ request: Request, _ type: Value.Type) async throws -> Value {
    let buffer = try await body(request, upTo: Self.maximumBody, "body_too_large")
    do {
      return try JSONDecoder().decode(type, from: Data(buffer.readableBytesView))
    } catch let error as DecodingError {
      throw APIError.invalid(Self.explain(error))
    }
  }

  private static func explain(_ error: DecodingError) -> String {
    func path(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, _): return "the field \"\(key.stringValue)\" is missing"
    case .typeMismatch(_, let context) where !context.codingPath.isEmpty,
      .valueNotFound(_, let context) where !context.codingPath.isEmpty,
      .dataCorrupted(let context) where !context.codingPath.isEmpty:
      return "the field \"\(path(context))\" is of the wrong type"
    default: return "the body is no JSON object"
    }
  }
}
