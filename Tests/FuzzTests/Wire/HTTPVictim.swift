import Foundation
import Logging
import Synchronization

@testable import Node

/// One HTTP server for the whole run, and a client of plain sockets.
final class HTTPVictim: Sendable {
  static let shared = HTTPVictim()

  private let port = Mutex<UInt16>(0)
  private let server: Task<Void, any Error>

  private init() {
    let service = HTTPService(
      configuration: HTTPConfiguration(
        address: SocketAddressText(host: "127.0.0.1", port: 0),
        isDefault: false
      ),
      node: QuietNode(),
      registry: PrometheusRegistry(),
      logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
    )
    let found = DispatchSemaphore(value: 0)
    let number = PortBox()
    server = Task {
      try await service.run { port in
        number.set(port)
        found.signal()
      }
    }
    found.wait()
    port.withLock { $0 = number.value }
  }

  /// Sends the bytes on a connection of their own and no more. Whatever they are, the server goes on
  /// to answer others.
  func attack(_ bytes: [UInt8]) throws {
    let port = port.withLock { $0 }
    // A part of a request, or a listener to events, has no end to wait for.
    let answer = try Self.exchange(port, bytes, milliseconds: 20, endsWhenSilent: true)
    try FuzzFinding.check(answer.count < 1 << 20, "an answer of \(answer.count) bytes")
    let health = try Self.exchange(
      port,
      Array("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8),
      milliseconds: 5000,
      endsWhenSilent: false
    )
    try FuzzFinding.check(
      String(decoding: health, as: UTF8.self).hasPrefix("HTTP/1.1 200 OK"),
      "the server does not answer any more"
    )
  }

  private static func exchange(
    _ port: UInt16,
    _ bytes: [UInt8],
    milliseconds: Int,
    endsWhenSilent: Bool
  ) throws -> [UInt8] {
    let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { throw FuzzFinding("no socket: \(errno)") }
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    let size = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else { throw FuzzFinding("the server does not accept: \(errno)") }
    // It may have had enough before it has all.
    _ = bytes.withUnsafeBytes {
      send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if endsWhenSilent { shutdown(socket, Int32(SHUT_WR)) }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while answer.count < 1 << 20 {
      let count = recv(socket, &buffer, buffer.count, 0)
      if count < 0, errno == EAGAIN, !endsWhenSilent {
        throw FuzzFinding("no answer within \(milliseconds) ms")
      }
      guard count > 0 else { break }
      answer += buffer[..<count]
    }
    return answer
  }
}

/// A number that a task hands to a thread.
private final class PortBox: Sendable {
  private let port = Mutex<UInt16>(0)
  var value: UInt16 { port.withLock { $0 } }
  func set(_ port: Int) { self.port.withLock { $0 = UInt16(clamping: port) } }
}

/// A node that has nothing to tell.
private final class QuietNode: NodeInspecting {
  let events = EventHub()
  func readiness() -> Readiness { .ready }
  func status() -> NodeStatus {
    NodeStatus(
      cluster: "fuzz",
      node: .init(
        name: "node1",
        role: .primary,
        term: 3,
        ready: true,
        commitIndex: 12,
        appliedIndex: 11,
        lagMilliseconds: 0,
        version: "1.2.3",
        uptimeSeconds: 5
      ),
      primary: .init(name: "node1"),
      databases: [],
      peers: []
    )
  }
}
