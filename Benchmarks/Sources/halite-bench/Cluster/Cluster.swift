import Foundation

/// Nodes on loopback, the first of them the primary, with TLS between them as in production.
struct Cluster {
  private let halite: String
  private let directory: String
  private let passthrough: String
  private let primaryPort: Int
  private let cleanup: Cleanup

  /// - Parameter passthrough: `fuse.passthrough` of all nodes.
  init(halite: String, directory: String, passthrough: String, cleanup: Cleanup) throws {
    self.halite = halite
    self.passthrough = passthrough
    self.directory = directory
    self.cleanup = cleanup
    primaryPort = try Loopback.freePort()
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try Child.run(halite, ["cert", "init", "--dir", directory + "/certs"], seconds: 30)
  }

  /// A node with its files; not started yet.
  ///
  /// - Parameter data: further keys of `data`, as YAML.
  func node(_ number: Int, data: String = "") throws -> Node {
    let name = "node\(number)"
    let home = "\(directory)/\(name)"
    let mount = home + "/mnt"
    try FileManager.default.createDirectory(atPath: mount, withIntermediateDirectories: true)
    let certs = directory + "/certs"
    try Child.run(
      halite,
      ["cert", "issue", "--dir", certs, "--name", name, "--host", "127.0.0.1"],
      seconds: 30
    )
    let port = number == 1 ? primaryPort : try Loopback.freePort()
    let http = try Loopback.freePort()
    let text = """
      fuse: {dir: \(mount), passthrough: \(passthrough)}
      data: {dir: \(home)/data\(data.isEmpty ? "" : ", " + data)}
      http: {addr: "127.0.0.1:\(http)"}
      replication:
        addr: "127.0.0.1:\(port)"
        advertise: "127.0.0.1:\(port)"
        tls: {ca: \(certs)/ca.pem, cert: \(certs)/\(name).pem, key: \(certs)/\(name)-key.pem}
      lease: {type: static, hostname: \(name), primary: "127.0.0.1:\(primaryPort)"}

      """
    let node = Node(name: name, halite: halite, home: home, http: http, cleanup: cleanup)
    try text.write(toFile: node.configuration, atomically: true, encoding: .utf8)
    return node
  }
}
