import Foundation
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization
import Testing

@testable import Node

@Suite(.timeLimit(.minutes(5))) struct ControlTests {
  private let directory: TemporaryDirectory
  private let node = FakeNode()

  init() throws { directory = try TemporaryDirectory() }

  private var path: String { directory.path + "/control.sock" }
  private var client: ControlClient {
    ControlClient(path: path, dataDirectory: directory.path)
  }

  /// Runs a server for as long as the body does.
  private func withServer<Result: Sendable>(
    _ body: @Sendable () async throws -> Result
  ) async throws -> Result {
    let server = ControlServer(
      path: path,
      node: node,
      logger: .silent
    )
    let (listening, continuation) = AsyncStream<Void>.makeStream()
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { continuation.finish() }
        try await server.run { continuation.yield() }
      }
      for await _ in listening { break }
      do {
        let result = try await body()
        group.cancelAll()
        return result
      } catch {
        group.cancelAll()
        throw error
      }
    }
  }

  @Test func statusArrivesWhole() async throws {
    var status = FakeNode.example
    status.databases = (0..<20_000).map { number in
      .init(
        name: "tenants/\(number).db",
        txid: "0000000000000001",
        checksum: "8000000000000001",
        pageSize: 4096,
        pages: 1,
        journalMode: "delete"
      )
    }
    node.set(status)
    try await withServer { [status] in
      let answer = try await client.status()
      #expect(answer.status == status)
      #expect(answer.json.count > ControlFrame.maximumPayload)
    }
  }

  @Test func theSocketIsTheUsersAlone() async throws {
    try await withServer {
      let attributes = try FileManager.default.attributesOfItem(atPath: path)
      #expect(attributes[.posixPermissions] as? Int == 0o600)
    }
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func nobodyListening() async throws {
    let error = await #expect(throws: ControlError.self) { try await client.status() }
    #expect(error?.code == .notRunning)
    #expect(
      error?.message
        == "no node is running with data directory \(directory.path); start it with `halite mount`"
    )
  }

  @Test func aSecondNodeIsRefusedAndALeftOverSocketIsNot() async throws {
    try Data().write(to: URL(fileURLWithPath: path))
    try await withServer {
      let second = ControlServer(
        path: path,
        node: FakeNode(),
        logger: .silent
      )
      let error = await #expect(throws: ControlError.self) { try await second.run {} }
      #expect(error?.message.hasPrefix("another node is running") == true)
      _ = try await client.status()
    }
  }

  @Test(arguments: [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
  func databasesGoInAndOut(size: Int) async throws {
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 % 200) }
    let node = node
    try await withServer {
      let chunks = Mutex(
        stride(from: 0, to: size, by: 700_000).map { bytes[$0..<min($0 + 700_000, size)] }
      )
      let source = ChunkSource(chunks.withLock { $0 })
      let position = try await client.importDatabase(
        "a/b.db",
        total: Int64(size),
        read: { source.next() },
        progress: { _, _ in }
      )
      #expect(position == "0000000000000001/8000000000000000")
      #expect(node.contents("a/b.db") == bytes)

      var received: [UInt8] = []
      var last: (Int64, Int64) = (0, 0)
      let count = try await client.export(
        "a/b.db",
        write: { received += $0 },
        progress: { last = ($0, $1) }
      )
      #expect(count == Int64(size))
      #expect(received == bytes)
      #expect(last == (Int64(size), Int64(size)))
    }
  }

  @Test func refusalsReachTheUser() async throws {
    try await withServer {
      let missing = await #expect(throws: ControlError.self) {
        try await client.export("no.db", write: { _ in }, progress: { _, _ in })
      }
      #expect(missing?.code == .refused)
      #expect(missing?.message == "there is no database no.db")
      for name in [
        "", "/etc/passwd", "../a", "a//b", "a/.", "a\0b", String(repeating: "x", count: 2000),
      ] {
        let error = await #expect(throws: ControlError.self) {
          try await client.export(name, write: { _ in }, progress: { _, _ in })
        }
        #expect(error?.message.contains("is not the name of a database") == true)
      }
    }
  }

  @Test func anErrorInTheMiddleIsAnError() async throws {
    node.put("bad.db", Array(repeating: 1, count: ControlFrame.maximumPayload) + [0xee])
    try await withServer {
      let export = await #expect(throws: ControlError.self) {
        try await client.export("bad.db", write: { _ in }, progress: { _, _ in })
      }
      #expect(export?.message == "page 3 cannot be read")
      // Refused while the client still has much to send.
      for (name, first) in [("refused.db", UInt8(0)), ("bad.db", 0xee)] {
        let endless: @Sendable () -> [UInt8]? = {
          [first] + Array(repeating: 0, count: ControlFrame.maximumPayload - 1)
        }
        let error = await #expect(throws: ControlError.self) {
          try await client.importDatabase(
            name,
            total: 1 << 40,
            read: endless,
            progress: { _, _ in }
          )
        }
        #expect(error?.code == .refused)
      }
      // A source that fails.
      let error = await #expect(throws: ControlError.self) {
        try await client.importDatabase(
          "c.db",
          total: 5,
          read: { throw ControlError(.local, "cannot read c") },
          progress: { _, _ in }
        )
      }
      #expect(error?.message == "cannot read c")
      #expect(node.contents("c.db") == nil)
      _ = try await client.status()
    }
  }

  @Test(arguments: [
    "nonsense\n", "{\"type\":\"result\"}\n", "{\"type\":\"data\",\"bytes\":-1}\n",
    "{\"type\":\"data\",\"bytes\":99999999}\n", "{\"type\":\"request\",\"command\":\"format\"}\n",
    String(repeating: "x", count: 100_000), "{\"type\":\"data\",\"bytes\":5}\nab",
  ])
  func badInputChangesNothing(text: String) async throws {
    try await withServer {
      let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(unixDomainSocketPath: path) { channel in
          channel.eventLoop.makeCompletedFuture {
            try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
              wrappingChannelSynchronously: channel,
              configuration: .init(isOutboundHalfClosureEnabled: true)
            )
          }
        }
      try? await channel.executeThenClose { inbound, outbound in
        try await outbound.write(ByteBuffer(string: text))
        outbound.finish()
        for try await _ in inbound {}
      }
      #expect(try await client.status().status == FakeNode.example)
    }
  }

  @Test func aShutdownEndsTheServer() async throws {
    let server = ControlServer(
      path: path,
      node: node,
      logger: .silent
    )
    let group = ServiceGroup(
      configuration: .init(
        services: [.init(service: server)],
        logger: .silent
      )
    )
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      while !(await ControlClient.isListening(path)) { await Task.yield() }
      await group.triggerGracefulShutdown()
      try await tasks.waitForAll()
    }
    #expect(!FileManager.default.fileExists(atPath: path))
  }
}

private final class ChunkSource: Sendable {
  private let chunks: Mutex<ArraySlice<ArraySlice<UInt8>>>
  init(_ chunks: [ArraySlice<UInt8>]) { self.chunks = Mutex(chunks[...]) }
  func next() -> [UInt8]? { chunks.withLock { $0.popFirst().map(Array.init) } }
}
