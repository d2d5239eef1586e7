import Foundation
import NIOCore
import NIOPosix
import Synchronization

/// Asks a running node on this machine, through the Unix socket in its data directory.
package struct ControlClient: Sendable {
  private let path: String
  private let dataDirectory: String

  package init(path: String, dataDirectory: String) {
    self.path = path
    self.dataDirectory = dataDirectory
  }

  package init(_ configuration: Configuration) {
    self.init(
      path: configuration.data.controlSocket,
      dataDirectory: configuration.data.directory
    )
  }

  /// The node's status as the JSON it sent, and decoded.
  package func status() async throws(ControlError) -> (json: [UInt8], status: NodeStatus) {
    var bytes: [UInt8] = []
    _ = try await converse(.request("status")) { frame in
      guard let payload = frame.payload else { return }
      guard bytes.count + payload.readableBytes <= Self.maximumStatus else {
        throw ControlError(.invalid, "the node's status is impossibly long")
      }
      bytes.append(contentsOf: payload.readableBytesView)
    }
    do {
      return (bytes, try JSONDecoder().decode(NodeStatus.self, from: Data(bytes)))
    } catch {
      throw ControlError(.invalid, "the node's status cannot be read", cause: error)
    }
  }

  /// Fetches a database; `write` gets its bytes in order.
  ///
  /// - Returns: the number of bytes.
  package func export(
    _ name: String,
    write: ([UInt8]) async throws -> Void,
    progress: (_ done: Int64, _ total: Int64) -> Void
  ) async throws(ControlError) -> Int64 {
    var done: Int64 = 0
    var total: Int64 = 0
    let result = try await converse(.request("export", name: name)) { frame in
      if frame.header.type == .progress { total = frame.header.total ?? 0 }
      if let payload = frame.payload {
        try await write(Array(payload.readableBytesView))
        done += Int64(payload.readableBytes)
      }
      progress(done, max(total, done))
    }
    guard result == "\(done)" else {
      throw ControlError(.broken, "the export of \(name) is not complete; try again")
    }
    return done
  }

  /// Sends a database; `read` gives its bytes in order, nil at the end.
  ///
  /// - Returns: the database's new position.
  package func importDatabase(
    _ name: String,
    total: Int64,
    read: @escaping @Sendable () async throws -> [UInt8]?,
    progress: (_ done: Int64, _ total: Int64) -> Void
  ) async throws(ControlError) -> String {
    try await converse(.request("import", name: name, total: total), sending: read) { frame in
      if frame.header.type == .progress { progress(frame.header.done ?? 0, total) }
    }
  }

  /// Makes the node the primary, and returns what it says about that.
  package func promote() async throws(ControlError) -> String {
    try await converse(.request("promote")) { _ in }
  }

  /// Lets another node be the primary, and returns what the node says about that.
  package func demote(to successor: String?) async throws(ControlError) -> String {
    try await converse(.request("demote", name: successor)) { _ in }
  }

  /// Whether anything accepts connections on a socket.
  package static func isListening(_ path: String) async -> Bool {
    guard FileManager.default.fileExists(atPath: path) else { return false }
    do {
      let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(.seconds(2))
        .connect(unixDomainSocketPath: path).get()
      try? await channel.close()
      return true
    } catch {
      return false
    }
  }

  /// More than any status; a node that sends more is not one.
  private static let maximumStatus = 64 << 20

  /// Sends a request, then whatever `sending` gives, and hands each answer to `receive` until the
  /// node has finished.
  private func converse(
    _ request: ControlFrame,
    sending: (@Sendable () async throws -> [UInt8]?)? = nil,
    receive: (ControlFrame) async throws -> Void
  ) async throws(ControlError) -> String {
    let connection = try await connect()
    let failure = SendingFailure()
    do {
      return try await connection.executeThenClose { inbound, outbound in
        try await outbound.write(request)
        return try await withThrowingTaskGroup(of: Void.self) { group in
          if let sending {
            group.addTask {
              do {
                while let bytes = try await sending() {
                  try await outbound.write(.data(ByteBuffer(bytes: bytes)))
                }
                try await outbound.write(.end)
              } catch {
                failure.error.withLock { $0 = error }
                // Ends the wait for an answer that cannot come.
                try? await connection.channel.close()
              }
            }
          }
          defer { group.cancelAll() }
          return try await Self.receiveAll(inbound, receive)
        }
      }
    } catch let error as ControlError where error.code == .refused {
      throw error
    } catch {
      let cause = failure.error.withLock { $0 } ?? error
      if let error = cause as? ControlError { throw error }
      throw ControlError(.broken, "the connection to the node broke", cause: cause)
    }
  }

  private static func receiveAll(
    _ inbound: NIOAsyncChannelInboundStream<ControlFrame>,
    _ receive: (ControlFrame) async throws -> Void
  ) async throws -> String {
    for try await frame in inbound {
      switch frame.header.type {
      case .result: return frame.header.text ?? ""
      case .error: throw ControlError(.refused, frame.header.text ?? "refused")
      default: try await receive(frame)
      }
    }
    throw ControlError(.broken, "the node closed the connection before it had finished")
  }

  private func connect() async throws(ControlError) -> ControlFrame.Channel {
    do {
      return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(.seconds(5))
        .connect(unixDomainSocketPath: path) { channel in
          channel.eventLoop.makeCompletedFuture { try ControlFrame.wrap(channel) }
        }
    } catch {
      let permission =
        FileManager.default.fileExists(atPath: path)
        && !FileManager.default.isWritableFile(atPath: path)
      if permission {
        throw ControlError(
          .notRunning,
          "this user may not use \(path); run the command as the node's user"
        )
      }
      throw ControlError(
        .notRunning,
        "no node is running with data directory \(dataDirectory); start it with `halite mount`"
      )
    }
  }
}

/// What went wrong on the sending side, told to the receiving one.
private final class SendingFailure: Sendable {
  let error = Mutex<(any Error)?>(nil)
}
