import Foundation
import Testing

@testable import Node

/// A directory that goes away with the value.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "halite-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let file = path + "/" + name
    try Data(text.utf8).write(to: URL(fileURLWithPath: file))
    return file
  }
}

@Suite struct ConfigurationLoaderTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func request(
    file: String? = nil,
    mount: String? = nil,
    data: String? = nil,
    command: [String] = [],
    environment: [String: String] = ["HOSTNAME": "node1", "HOME": "/nowhere"]
  ) -> ConfigurationRequest {
    ConfigurationRequest(
      file: file,
      mount: mount,
      data: data,
      command: command,
      environment: environment,
      workingDirectory: directory.path
    )
  }

  @Test func aDirectoryAloneIsASingleNode() throws {
    // A file that lies about is not read.
    try directory.write("halite.yml", "nonsense: true")
    let loaded = try ConfigurationLoader.load(request(mount: "mnt/"))
    #expect(loaded.file == nil)
    #expect(loaded.configuration.fuse.directory == directory.path + "/mnt")
    #expect(loaded.configuration.data.directory == directory.path + "/mnt.halite")
    #expect(loaded.configuration.lease.kind == .single)
  }

  @Test func theCommandLineGoesBeforeTheFile() throws {
    let file = try directory.write(
      "some.yml",
      "fuse: {dir: a}\ndata: {dir: b}\nexec: [x]\nhttp: {addr: \"\"}"
    )
    let plain = try ConfigurationLoader.load(request(file: file)).configuration
    #expect(plain.fuse.directory == directory.path + "/a")
    #expect(plain.http == HTTPConfiguration(address: nil, isDefault: false))
    let loaded = try ConfigurationLoader.load(
      request(file: "some.yml", mount: "c", data: "d", command: ["y", "z"])
    ).configuration
    #expect(loaded.fuse.directory == directory.path + "/c")
    #expect(loaded.data.directory == directory.path + "/d")
    #expect(loaded.data.controlSocket == directory.path + "/d/control.sock")
    #expect(loaded.exec == [ExecCommand(arguments: ["y", "z"])])
  }

  @Test func theFileIsSearched() throws {
    try directory.write("halite.yml", "lease: {hostname: found}")
    let loaded = try ConfigurationLoader.load(request())
    #expect(loaded.file == directory.path + "/halite.yml")
    #expect(loaded.configuration.lease.hostname == "found")
    let home = try TemporaryDirectory()
    try home.write("halite.yml", "lease: {hostname: home}")
    let other = try TemporaryDirectory()
    var elsewhere = request(environment: ["HOME": home.path])
    elsewhere.workingDirectory = other.path
    #expect(try ConfigurationLoader.load(elsewhere).configuration.lease.hostname == "home")
  }

  @Test func theHostNameIsFilledIn() throws {
    let file = try directory.write("a.yml", "lease: {hostname: $HOSTNAME}")
    let loaded = try ConfigurationLoader.load(request(file: file, environment: [:]))
    #expect(loaded.configuration.lease.hostname == ProcessInfo.processInfo.hostName)
    #expect(loaded.warnings == [])
  }

  @Test func environmentExpansionCanBeTurnedOff() throws {
    let file = try directory.write("a.yml", "lease: {hostname: $X}")
    var request = request(file: file, environment: ["X": "y"])
    #expect(try ConfigurationLoader.load(request).configuration.lease.hostname == "y")
    request.expandsEnvironment = false
    #expect(try ConfigurationLoader.load(request).configuration.lease.hostname == "$X")
  }

  @Test func whatCannotBeReadIsSaid() throws {
    #expect(throws: ConfigurationError.self) { try ConfigurationLoader.load(request(file: "no")) }
    #expect(throws: ConfigurationError.self) { try ConfigurationLoader.load(request(file: ".")) }
    try Data([0xff, 0xfe, 0x00]).write(to: URL(fileURLWithPath: directory.path + "/bin.yml"))
    let error = #expect(throws: ConfigurationError.self) {
      try ConfigurationLoader.load(request(file: "bin.yml"))
    }
    #expect(
      error?.description
        == "\(directory.path)/bin.yml: error: not UTF-8 text; is it the right file?"
    )
  }

  @Test func certificatesMustExist() throws {
    let file = try directory.write(
      "a.yml",
      """
      replication:
        tls:
          ca: ca.pem
          cert: n.pem
          key: k.pem
      lease: {type: static, hostname: node1, primary: "node1:20203"}
      """
    )
    try directory.write("ca.pem", "")
    let error = #expect(throws: ConfigurationError.self) {
      try ConfigurationLoader.load(request(file: file))
    }
    #expect(error?.problems.map(\.line) == [4, 5])
    try directory.write("n.pem", "")
    try directory.write("k.pem", "")
    #expect(try ConfigurationLoader.load(request(file: file)).warnings == [])
  }

  @Test func aMountBehindASymbolicLinkIsSeenThrough() throws {
    try FileManager.default.createDirectory(
      atPath: directory.path + "/real",
      withIntermediateDirectories: true
    )
    try FileManager.default.createSymbolicLink(
      atPath: directory.path + "/link",
      withDestinationPath: directory.path + "/real"
    )
    let error = #expect(throws: ConfigurationError.self) {
      try ConfigurationLoader.load(request(mount: "real", data: "link/data"))
    }
    #expect(error?.description.contains("lies inside \"fuse.dir\"") == true)
  }

  @Test(arguments: [
    "", "fuse: {dir: /a b, allow-other: true}\nexec: \"a 'b c' \\\"$$x\\\" it\\\\'s\"",
    """
    replication: {tls: {insecure: true}, addr: "[::1]:1", advertise: "[::1]:1", max-lag: 1500ms}
    lease: {type: static, primary: "[::1]:1", hostname: "x\\ty\\"z"}
    data: {max-log-size: 5000001}
    http: {addr: off}
    write-forwarding: false
    log: {format: json, level: error}
    """,
    """
    replication: {tls: {insecure: true}, addr: "[::1]:1", advertise: "[::1]:1"}
    lease: {type: quorum, hostname: "a b".c, ttl: 700ms, priority: -2, candidate: false,
            quorum: {peers: {n1: "[::1]:1", "n:2": "127.0.0.1:5"}}}
    """.replacingOccurrences(of: "\"a b\".c", with: "c"),
  ])
  func whatIsPrintedReadsBackToTheSame(text: String) throws {
    let file = try directory.write("a.yml", text.replacingOccurrences(of: "\\ty", with: "y"))
    let first = try ConfigurationLoader.load(request(file: file)).configuration
    let printed = try directory.write("b.yml", first.yaml)
    let second = try ConfigurationLoader.load(request(file: printed))
    #expect(second.configuration == first)
    #expect(second.warnings == [])
  }
}
