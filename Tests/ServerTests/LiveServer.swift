import Foundation
import Logging
import ServiceLifecycle
import Testing

@testable import Server

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

/// A whole server over a database in a directory of its own, asked through a real connection.
struct LiveServer: Sendable {
  static let secret = "0123456789abcdef0123456789abcdef"

  let port: Int
  let directory: String
  let hasher = TokenHasher(secret: secret)

  var database: String { directory + "/nebula.db" }

  /// Runs one for as long as the body does.
  static func with<Result: Sendable>(
    _ settings: [String: String] = [:],
    directory given: String? = nil,
    _ body: @Sendable (LiveServer) async throws -> Result
  ) async throws -> Result {
    let directory = given ?? NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    if given == nil {
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }
    defer { if given == nil { try? FileManager.default.removeItem(atPath: directory) } }
    let base = [
      "NEBULAGC_LISTEN_ADDR": "127.0.0.1:0", "NEBULAGC_DB_PATH": directory + "/nebula.db",
      "NEBULAGC_HMAC_SECRET": secret, "NEBULAGC_PUBLIC_URL": "http://here.example:8080",
      "NEBULAGC_HEARTBEAT_SECONDS": "0.2", "NEBULAGC_RATELIMIT": "off",
    ]
    let configuration = try ServerSettings(flags: settings, environment: base, file: [:])
      .configuration()
    let (listening, continuation) = AsyncStream<Int>.makeStream()
    let plane = ControlPlane(configuration, logger: .quiet) { continuation.yield($0) }
    let group = ServiceGroup(services: plane.services, logger: .quiet)
    return try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask {
        defer { continuation.finish() }
        try await group.run()
      }
      var iterator = listening.makeAsyncIterator()
      let port = try #require(await iterator.next())
      let result: Result
      do {
        result = try await body(LiveServer(port: port, directory: directory))
      } catch {
        await group.triggerGracefulShutdown()
        throw error
      }
      await group.triggerGracefulShutdown()
      try await tasks.next()
      return result
    }
  }

  struct Reply: Sendable {
    var status: Int
    var headers: [String: String]
    var body: Data

    var text: String { String(decoding: body, as: UTF8.self) }
    /// An object of the body, or of its `data`.
    func value(_ path: String...) -> AnyHashable? {
      var value = try? JSONSerialization.jsonObject(with: body)
      for name in path { value = (value as? [String: Any])?[name] }
      return value as? AnyHashable
    }
    var error: String? { value("error") as? String }
  }

  func send(
    _ method: String,
    _ path: String,
    token: String? = nil,
    cluster: String? = nil,
    headers: [String: String] = [:],
    body: Data? = nil
  ) async throws -> Reply {
    let url = try #require(URL(string: "http://127.0.0.1:\(port)\(path)"))
    var request = URLRequest(url: url, timeoutInterval: 30)
    request.httpMethod = method
    if let token { request.setValue(token, forHTTPHeaderField: "X-NebulaGC-Node-Token") }
    if let cluster { request.setValue(cluster, forHTTPHeaderField: "X-NebulaGC-Cluster-Token") }
    for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
    request.httpBody = body
    let session = URLSession(configuration: .ephemeral)
    defer { session.finishTasksAndInvalidate() }
    let (data, response) = try await session.data(for: request)
    let answer = try #require(response as? HTTPURLResponse)
    var fields: [String: String] = [:]
    for (name, value) in answer.allHeaderFields {
      fields["\(name)".lowercased()] = "\(value)"
    }
    return Reply(status: answer.statusCode, headers: fields, body: data)
  }

  func send(
    _ method: String,
    _ path: String,
    token: String? = nil,
    cluster: String? = nil,
    json: String
  ) async throws -> Reply {
    try await send(
      method,
      path,
      token: token,
      cluster: cluster,
      headers: ["Content-Type": "application/json"],
      body: Data(json.utf8)
    )
  }

  /// A tenant with a cluster and its first administrator.
  func makeCluster(_ name: String = "prod") async throws -> Administration.NewCluster {
    try await untilReady()
    let administration = try Administration(database: database, logger: .quiet)
    _ = try await administration.createTenant("tenant of \(name)")
    return try await administration.createCluster(
      name,
      tenant: "tenant of \(name)",
      node: "admin",
      hasher: hasher
    )
  }

  func untilReady() async throws {
    try await eventually("ready") { try await send("GET", "/health/ready").status == 200 }
  }

  /// Asks again and again, for at most ten seconds.
  func eventually(
    _ what: String,
    _ condition: () async throws -> Bool
  ) async throws {
    let end = ContinuousClock.now + .seconds(10)
    while try await !condition() {
      try #require(ContinuousClock.now < end, "never: \(what)")
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  func metric(_ line: String) async throws -> Double? {
    let text = try await send("GET", "/metrics").text
    return text.split(separator: "\n").first { $0.hasPrefix(line + " ") }
      .flatMap { Double($0.dropFirst(line.count + 1)) }
  }
}

extension Logger {
  static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}
