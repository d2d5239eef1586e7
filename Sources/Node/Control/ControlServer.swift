import Foundation
package import Logging
import NIOCore
package import NIOPosix
import ServiceLifecycle
import Synchronization

/// Listens on the Unix socket in the data directory and does what commands ask of the node.
///
/// Whoever may open the socket is the node's user (mode 0600), so there is no other check of who
/// asks. `ControlFrame` describes the conversation.
package final class ControlServer: Service {
  /// Conversations at one time; a person has one or two.
  static let maximumConnections = 32
  /// How long a client may take to say what it wants.
  static let requestDeadline = TimeAmount.seconds(30)

  private let path: String
  private let node: any NodeControlling
  private let logger: Logger
  private let group: any EventLoopGroup
  /// Where calls into the store may block.
  private let threads: NIOThreadPool
  private let connections = Atomic<Int>(0)

  package init(
    path: String,
    node: any NodeControlling,
    logger: Logger,
    threads: NIOThreadPool = .singleton
  ) {
    self.path = path
    self.node = node
    self.logger = logger
    self.threads = threads
    group = MultiThreadedEventLoopGroup.singleton
  }

  /// Serves until the service group shuts down.
  package func run() async throws {
    try await run(onListening: {})
  }

  func run(onListening: @Sendable () -> Void) async throws {
    let server = try await listen()
    defer { try? FileManager.default.removeItem(atPath: path) }
    onListening()
    try await withGracefulShutdownHandler {
      try await server.executeThenClose { inbound in
        await withDiscardingTaskGroup { group in
          do {
            for try await connection in inbound {
              group.addTask { await self.serve(connection) }
            }
          } catch {
            guard !(error is CancellationError) else { return group.cancelAll() }
            self.logger.error("control socket failed", metadata: ["error": "\(error)"])
          }
          group.cancelAll()
        }
      }
    } onGracefulShutdown: {
      server.channel.close(promise: nil)
    }
  }

  /// Binds beside the final name, restricts the mode, then renames: the socket is never open to
  /// others, and takes the place of one that a killed process left.
  private func listen() async throws -> NIOAsyncChannel<any Channel, Never> {
    if await ControlClient.isListening(path) {
      throw ControlError(
        .local,
        "another node is running with this data directory (it answers on \(path)); "
          + "stop it first, or give this node its own --data"
      )
    }
    let temporary = path + "~"
    try? FileManager.default.removeItem(atPath: temporary)
    do {
      let server = try await ServerBootstrap(group: group)
        .serverChannelOption(.backlog, value: 16)
        // Nothing is read until `serve` has made the connection speak frames. It is not done here,
        // since an asynchronous channel that is dropped while open ends the process, and those
        // accepted during a shutdown are dropped.
        .childChannelOption(.autoRead, value: false)
        .bind(unixDomainSocketPath: temporary) { channel in
          channel.eventLoop.makeSucceededFuture(channel)
        }
      do {
        try FileManager.default.setAttributes(
          [.posixPermissions: 0o600],
          ofItemAtPath: temporary
        )
        try? FileManager.default.removeItem(atPath: path)
        try FileManager.default.moveItem(atPath: temporary, toPath: path)
      } catch {
        server.channel.close(promise: nil)
        throw error
      }
      return server
    } catch {
      throw ControlError(
        .local,
        "cannot listen on \(path); check that the data directory exists and may be "
          + "written",
        cause: error
      )
    }
  }

  private func serve(_ accepted: any Channel) async {
    let count = connections.add(1, ordering: .relaxed).newValue
    defer { connections.subtract(1, ordering: .relaxed) }
    do {
      let connection = try await accepted.eventLoop.submit {
        let connection = try ControlFrame.wrap(accepted)
        accepted.setOption(.autoRead, value: true).whenFailure { _ in accepted.close(promise: nil) }
        return connection
      }.get()
      try await connection.executeThenClose { inbound, outbound in
        guard count <= Self.maximumConnections else {
          try await outbound.write(.error("too many commands at once; try again"))
          return
        }
        let channel = connection.channel
        let deadline = channel.eventLoop.scheduleTask(in: Self.requestDeadline) {
          channel.close(promise: nil)
        }
        var frames = inbound.makeAsyncIterator()
        let first = try await frames.next(isolation: #isolation)
        deadline.cancel()
        guard let first else { return }
        do {
          try await perform(first.header, &frames, outbound)
        } catch {
          logger.warning(
            "control request failed",
            metadata: [
              "command": "\(first.header.command?.prefix(64) ?? "")",
              "name": "\(first.header.name?.prefix(256) ?? "")",
              "error": "\(error)",
            ]
          )
          try await outbound.write(.error("\(error)"))
        }
        // Closing at once would cut off what is still on its way in either direction; the client
        // closes when it has its answer.
        let drain = channel.eventLoop.scheduleTask(in: Self.requestDeadline) {
          channel.close(promise: nil)
        }
        defer { drain.cancel() }
        while try await frames.next(isolation: #isolation) != nil {}
      }
    } catch {
      logger.debug("control connection ended", metadata: ["error": "\(error)"])
    }
  }

  private func perform(
    _ request: ControlFrame.Header,
    _ frames: inout NIOAsyncChannelInboundStream<ControlFrame>.AsyncIterator,
    _ outbound: NIOAsyncChannelOutboundWriter<ControlFrame>
  ) async throws {
    guard request.type == .request else {
      throw ControlError(.invalid, "a conversation begins with a request")
    }
    switch request.command {
    case "status":
      try await sendStatus(outbound)
    case "export":
      try await export(try Self.databaseName(request.name), outbound)
    case "import":
      try await importDatabase(
        try Self.databaseName(request.name),
        total: request.total ?? 0,
        &frames,
        outbound
      )
    case "promote": try await outbound.write(.result(try await node.promote()))
    case "demote": try await outbound.write(.result(try await node.demote(to: request.name)))
    default:
      throw ControlError(
        .invalid,
        "this node does not know the command \"\(request.command ?? "")\"; it runs "
          + "version \(HaliteVersion.text)"
      )
    }
  }

  private func sendStatus(
    _ outbound: NIOAsyncChannelOutboundWriter<ControlFrame>
  ) async throws {
    var bytes = ByteBuffer(bytes: try StatusJSON.line(node.status()))
    while let slice = bytes.readSlice(
      length: min(bytes.readableBytes, ControlFrame.maximumPayload)
    ), slice.readableBytes > 0 {
      try await outbound.write(.data(slice))
    }
    try await outbound.write(.result(""))
  }

  private func export(
    _ name: String,
    _ outbound: NIOAsyncChannelOutboundWriter<ControlFrame>
  ) async throws {
    let node = node
    let source = try await threads.runIfActive { try node.openExport(of: name) }
    do {
      var done: Int64 = 0
      try await outbound.write(.progress(0, of: source.size))
      while let bytes = try await threads.runIfActive({
        try source.next(maxBytes: ControlFrame.maximumPayload)
      }) {
        done += Int64(bytes.count)
        try await outbound.write(.data(ByteBuffer(bytes: bytes)))
      }
      try await threads.runIfActive { source.close() }
      try await outbound.write(.result("\(done)"))
    } catch {
      try? await threads.runIfActive { source.close() }
      throw error
    }
  }

  private func importDatabase(
    _ name: String,
    total: Int64,
    _ frames: inout NIOAsyncChannelInboundStream<ControlFrame>.AsyncIterator,
    _ outbound: NIOAsyncChannelOutboundWriter<ControlFrame>
  ) async throws {
    let node = node
    let sink = try await threads.runIfActive { try node.openImport(of: name) }
    do {
      var done: Int64 = 0
      while true {
        guard let frame = try await frames.next(isolation: #isolation) else {
          throw ControlError(.broken, "the import of \(name) was broken off; nothing changed")
        }
        if frame.header.type == .end { break }
        guard frame.header.type == .data, let payload = frame.payload else {
          throw ControlError(.invalid, "an import consists of data")
        }
        try await threads.runIfActive { try sink.write(Array(payload.readableBytesView)) }
        done += Int64(payload.readableBytes)
        try await outbound.write(.progress(done, of: total))
      }
      let position = try await threads.runIfActive { try sink.finish() }
      try await outbound.write(.result(position))
      logger.info(
        "database imported",
        metadata: ["database": "\(name)", "position": "\(position)"]
      )
    } catch {
      try? await threads.runIfActive { sink.cancel() }
      throw error
    }
  }

  /// A path inside the mount and nothing else.
  static func databaseName(_ name: String?) throws -> String {
    let parts = name?.split(separator: "/", omittingEmptySubsequences: false) ?? []
    guard let name, !parts.isEmpty, name.utf8.count <= 1024, !name.contains("\0"),
      parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
    else {
      throw ControlError(
        .invalid,
        "\"\(name?.prefix(256) ?? "")\" is not the name of a database; give its path in the mount, "
          + "as app.db or tenants/a.db"
      )
    }
    return name
  }
}
