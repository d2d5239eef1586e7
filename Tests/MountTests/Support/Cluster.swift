import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// A number of nodes on this machine, the first of them the primary, with everything in one
/// temporary directory.
final class Cluster: Sendable {
  static let prefix = "/tmp/halite-mount-tests-"

  let directory: String
  let primaryPort: Int

  init() async throws {
    await Leftovers.clean()
    directory = Self.prefix + UUID().uuidString.prefix(8).lowercased()
    primaryPort = try FreePort.any()
    try FileManager.default.createDirectory(
      atPath: directory,
      withIntermediateDirectories: true
    )
    let made = try await Node.halite(["cert", "init", "--dir", directory + "/certs"])
    guard made.isSuccess else { throw Failure("cert init: \(made.output)") }
  }

  /// A node's files; it is not started yet.
  ///
  /// - Parameters:
  ///   - primary: where it finds the primary; the first node is the one that has no other.
  ///   - port: where others reach it; any if none is given.
  ///   - lease: the lease of its configuration; a static one if none is given.
  ///   - sync: how safe a commit is.
  ///   - passesLogs: whether the kernel passes write-ahead logs through, too.
  ///   - extra: lines for its configuration.
  func node(
    _ number: Int,
    primary: Int? = nil,
    port: Int? = nil,
    lease: String? = nil,
    sync: String = "async",
    passthrough: Bool = true,
    passesLogs: Bool = false,
    extra: String = ""
  ) async throws -> Node {
    let name = "node\(number)"
    let home = "\(directory)/\(name)"
    try FileManager.default.createDirectory(
      atPath: home + "/mnt",
      withIntermediateDirectories: true
    )
    if !FileManager.default.fileExists(atPath: "\(directory)/certs/\(name).pem") {
      let issued = try await Node.halite([
        "cert", "issue", "--dir", directory + "/certs", "--name", name, "--host", "127.0.0.1",
      ])
      guard issued.isSuccess else { throw Failure("cert issue: \(issued.output)") }
    }
    let port = try port ?? (number == 1 ? primaryPort : FreePort.any())
    let lease =
      lease ?? "{type: static, hostname: \(name), primary: \"127.0.0.1:\(primary ?? primaryPort)\"}"
    let http = try FreePort.any()
    let text = """
      fuse: {dir: \(home)/mnt, passthrough: \(passesLogs ? "all" : "\(passthrough)")}
      data: {dir: \(home)/data}
      http: {addr: "127.0.0.1:\(http)"}
      replication:
        addr: "127.0.0.1:\(port)"
        advertise: "127.0.0.1:\(port)"
        sync: \(sync)
        tls:
          ca: \(directory)/certs/ca.pem
          cert: \(directory)/certs/\(name).pem
          key: \(directory)/certs/\(name)-key.pem
      lease: \(lease)
      \(extra)
      """
    try text.write(toFile: home + "/halite.yml", atomically: true, encoding: .utf8)
    return Node(name: name, home: home, http: http)
  }

  /// So many nodes that elect one of them; they are not started yet.
  ///
  /// - Parameter sync: how safe their commits are.
  func voters(
    _ count: Int,
    ttl: String,
    sync: String = "async",
    extra: String = ""
  ) async throws -> [Node] {
    let ports = try (0..<count).map { $0 == 0 ? primaryPort : try FreePort.any() }
    let peers = ports.enumerated().map { "node\($0.offset + 1): \"127.0.0.1:\($0.element)\"" }
    var nodes: [Node] = []
    for (place, port) in ports.enumerated() {
      nodes.append(
        try await quorumNode(
          place + 1,
          port,
          peers.joined(separator: ", "),
          ttl: ttl,
          sync: sync,
          extra: extra
        )
      )
    }
    return nodes
  }

  /// A node that follows whom those nodes elect.
  func observer(_ number: Int, of voters: [Node], ttl: String) async throws -> Node {
    guard let text = try? String(contentsOfFile: voters[0].configuration, encoding: .utf8),
      let start = text.range(of: "peers: {"),
      let end = text.range(of: "}}}", range: start.upperBound..<text.endIndex)
    else { throw Failure("\(voters[0].name) has no voters") }
    let peers = String(text[start.upperBound..<end.lowerBound])
    return try await quorumNode(number, try FreePort.any(), peers, ttl: ttl)
  }

  private func quorumNode(
    _ number: Int,
    _ port: Int,
    _ peers: String,
    ttl: String,
    sync: String = "async",
    extra: String = ""
  ) async throws -> Node {
    let lease = "{type: quorum, hostname: node\(number), ttl: \(ttl), quorum: {peers: {\(peers)}}}"
    return try await node(number, port: port, lease: lease, sync: sync, extra: extra)
  }

  /// Removes everything; the nodes must have been stopped.
  func remove() { try? FileManager.default.removeItem(atPath: directory) }
}

/// What a test cannot go on without.
struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Ports of this machine that nobody listens on.
enum FreePort {
  static func any() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure("no socket") }
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
      }
    }
    guard result else { throw Failure("no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
}

/// What a killed run of these tests left behind.
enum Leftovers {
  /// Detaches mounts and ends daemons of directories of these tests whose run is over.
  static func clean() async {
    guard
      cleaned.withLock({ flag in
        defer { flag = true }; return !flag
      })
    else { return }
    _ = try? await Command.run(
      ["bash", Command.script("clean_leftovers.sh"), Cluster.prefix, "\(getpid())"],
      seconds: 60
    )
  }

  private static let cleaned = Mutex(false)
}
