import CoreMetrics
import Foundation
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import Node

@Suite(.timeLimit(.minutes(5))) struct HTTPTests {
  private let node = FakeNode()
  private let registry = PrometheusRegistry()

  /// Runs a server on a free port of loopback for as long as the body does.
  private func withServer<Result: Sendable>(
    _ body: @Sendable (Int) async throws -> Result
  ) async throws -> Result {
    let service = HTTPService(
      configuration: HTTPConfiguration(
        address: SocketAddressText(host: "127.0.0.1", port: 0),
        isDefault: false
      ),
      node: node,
      registry: registry,
      logger: .silent
    )
    let (listening, continuation) = AsyncStream<Int>.makeStream()
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { continuation.finish() }
        try await service.run { continuation.yield($0) }
      }
      var port = 0
      for await number in listening {
        port = number
        break
      }
      defer { group.cancelAll() }
      return try await body(port)
    }
  }

  /// Status line, headers and body of one answer, as text.
  private func send(_ port: Int, _ method: String, _ path: String) async throws -> String {
    let channel = try await connect(port)
    return try await channel.executeThenClose { inbound, outbound in
      try await outbound.write(
        ByteBuffer(string: "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      )
      var answer = ""
      for try await bytes in inbound { answer += String(buffer: bytes) }
      return answer
    }
  }

  private func connect(_ port: Int) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connect(host: "127.0.0.1", port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
        }
      }
  }

  private func body(_ answer: String) -> String {
    answer.range(of: "\r\n\r\n").map { String(answer[$0.upperBound...]) } ?? ""
  }

  @Test func probes() async throws {
    try await withServer { port in
      let health = try await send(port, "GET", "/health")
      #expect(health.hasPrefix("HTTP/1.1 200 OK"))
      #expect(body(health) == "{\"status\":\"ok\"}\n")
      let ready = try await send(port, "GET", "/ready")
      #expect(ready.hasPrefix("HTTP/1.1 200 OK"))
      #expect(body(ready) == "{\"ready\":true}\n")
      node.set(.notReady("12 s behind the primary"))
      let late = try await send(port, "GET", "/ready")
      #expect(late.hasPrefix("HTTP/1.1 503 "))
      #expect(body(late) == "{\"ready\":false,\"reason\":\"12 s behind the primary\"}\n")
    }
  }

  @Test func statusHasTheNamesOfTheContract() async throws {
    try await withServer { port in
      let answer = body(try await send(port, "GET", "/status"))
      let object = try #require(
        try JSONSerialization.jsonObject(with: Data(answer.utf8)) as? [String: Any]
      )
      #expect(object["cluster"] as? String == "halite-test")
      let member = try #require(object["node"] as? [String: Any])
      #expect(member["name"] as? String == "node1")
      #expect(member["role"] as? String == "primary")
      #expect(member["term"] as? Int == 3)
      #expect(member["ready"] as? Bool == true)
      #expect(member["commit_index"] as? Int == 12)
      #expect(member["applied_index"] as? Int == 11)
      #expect((object["primary"] as? [String: Any])?["name"] as? String == "node1")
      let database = try #require((object["databases"] as? [[String: Any]])?.first)
      #expect(
        Set(database.keys) == ["name", "txid", "checksum", "page_size", "pages", "journal_mode"]
      )
      let peers = try #require(object["peers"] as? [[String: Any]])
      for peer in peers {
        #expect(Set(peer.keys) == ["name", "role", "connected", "lag_ms", "match_index"])
      }
      #expect(peers.last?["lag_ms"] is NSNull)

      var alone = FakeNode.example
      alone.primary = nil
      node.set(alone)
      let lonely = body(try await send(port, "GET", "/status"))
      #expect(lonely.contains("\"primary\" : null"))
    }
  }

  @Test(arguments: ["/nothing", "/status/", "/..", "/metrics/x", "/STATUS", "/%2e%2e/etc"])
  func otherPathsAreNotFound(path: String) async throws {
    try await withServer { port in
      let answer = try await send(port, "GET", path)
      #expect(answer.hasPrefix("HTTP/1.1 404 "))
    }
  }

  @Test(arguments: ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
  func otherMethodsAreNotAllowed(method: String) async throws {
    try await withServer { port in
      for path in ["/", "/health", "/status", "/events"] {
        let answer = try await send(port, method, path)
        #expect(answer.hasPrefix("HTTP/1.1 405 "))
        #expect(answer.lowercased().contains("\r\nallow: get, head\r\n"))
      }
    }
  }

  @Test func headHasNoBody() async throws {
    try await withServer { port in
      for path in ["/", "/health", "/status", "/metrics", "/events"] {
        let answer = try await send(port, "HEAD", path)
        #expect(answer.hasPrefix("HTTP/1.1 200 OK"), "\(path)")
        #expect(body(answer) == "", "\(path)")
      }
    }
  }

  @Test func thePageEscapesNames() async throws {
    var status = FakeNode.example
    status.databases[0].name = "<script>alert('x')</script>"
    node.set(status)
    try await withServer { port in
      let page = try await send(port, "GET", "/")
      #expect(page.contains("text/html; charset=utf-8"))
      #expect(page.contains("&lt;script&gt;alert(&#39;x&#39;)"))
      #expect(!page.contains("<script"))
      #expect(!page.contains("http://") && !page.contains("https://"))
    }
  }

  @Test func metricsAreServed() async throws {
    NodeMetrics(factory: registry).commits.increment(by: 5)
    try await withServer { port in
      let answer = try await send(port, "GET", "/metrics")
      #expect(answer.contains("text/plain; version=0.0.4"))
      let lines = Set(body(answer).split(separator: "\n").map(String.init))
      #expect(lines.contains("halite_commits_total 5"))
      #expect(lines.contains("halite_is_primary 1"))
      #expect(lines.contains("halite_db_txid{db=\"app.db\"} 12"))
      #expect(lines.contains("halite_peer_connected{peer=\"node3\"} 0"))
      #expect(lines.contains("halite_peer_lag_seconds{peer=\"node2\"} 0.004"))
    }
  }

  @Test func eventsAreStreamed() async throws {
    node.events.publish(.primaryChange(isPrimary: false, hostname: "node7"))
    try await withServer { port in
      let channel = try await connect(port)
      try await channel.executeThenClose { inbound, outbound in
        try await outbound.write(
          ByteBuffer(string: "GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        )
        var received = ""
        var published = false
        for try await bytes in inbound {
          received += String(buffer: bytes)
          if received.contains("\"init\""), !published {
            published = true
            node.events.heartbeat()
            node.events.publish(.primaryChange(isPrimary: true, hostname: "node1"))
            node.events.publish(
              .transaction(
                .init(
                  database: "a.db",
                  txid: 0x1f,
                  checksum: 0x8000_0000_0000_0002,
                  pageSize: 512,
                  pages: 3,
                  timestamp: 1_700_000_000_123
                )
              )
            )
            node.events.close()
          }
        }
        let lines = received.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("{") }
        #expect(
          lines == [
            "{\"data\":{\"hostname\":\"node7\",\"isPrimary\":false},\"type\":\"init\"}",
            "{\"data\":{\"hostname\":\"node1\",\"isPrimary\":true},\"type\":\"primaryChange\"}",
            "{\"data\":{\"commit\":3,\"pageSize\":512,\"postApplyChecksum\":\"8000000000000002\","
              + "\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"txID\":\"000000000000001f\"},"
              + "\"db\":\"a.db\",\"type\":\"tx\"}",
          ]
        )
        #expect(received.contains("\r\n1\r\n\n\r\n"))
      }
    }
  }

  @Test func aListenerThatDoesNotReadIsDropped() async throws {
    try await withServer { port in
      let channel = try await connect(port)
      try await channel.executeThenClose { inbound, outbound in
        try await outbound.write(ByteBuffer(string: "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"))
        for try await bytes in inbound where String(buffer: bytes).contains("init") { break }
        // Nothing is read from here on; the kernel's buffers fill, then ours.
        let name = String(repeating: "n", count: 4000)
        while node.events.isWatched {
          node.events.publish(
            .transaction(
              .init(
                database: name,
                txid: 1,
                checksum: 1,
                pageSize: 512,
                pages: 1,
                timestamp: 0
              )
            )
          )
          await Task.yield()
        }
      }
    }
  }

  @Test func aDefaultPortThatIsTakenIsNoFailure() async throws {
    try await withServer { port in
      let address = SocketAddressText(host: "127.0.0.1", port: port)
      let strict = HTTPService(
        configuration: HTTPConfiguration(address: address, isDefault: false),
        node: FakeNode(),
        registry: registry,
        logger: .silent
      )
      do {
        try await strict.run()
        Issue.record("two serve on one port")
      } catch {
        #expect("\(error)".contains("\(address)") && "\(error)".contains("http.addr"), "\(error)")
      }
      let lenient = HTTPService(
        configuration: HTTPConfiguration(address: address, isDefault: true),
        node: FakeNode(),
        registry: registry,
        logger: .silent
      )
      try await withThrowingTaskGroup(of: Bool.self) { group in
        group.addTask {
          // Ends only when it is told to.
          _ = try? await lenient.run()
          return Task.isCancelled
        }
        _ = try await send(port, "GET", "/health")
        group.cancelAll()
        let wasCancelled = try await group.next()
        #expect(wasCancelled == true)
      }
    }
  }
}

extension Logger {
  /// For what tests provoke on purpose.
  static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}
