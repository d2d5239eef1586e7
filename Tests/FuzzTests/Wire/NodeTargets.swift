import Foundation

@testable import Node

/// The configuration, and requests to the HTTP server.
enum NodeTargets {
  static let all = [configuration, texts, http]

  private static let environment = [
    "HOSTNAME": "node1", "A": "alpha", "ADDR": "127.0.0.1:20203", "LONG": "x: {y: [1, 2]}",
  ]

  /// A `halite.yml` or `litefs.yml`, with references to the environment.
  static let configuration = FuzzTarget(
    "configuration",
    maxBytes: 4096,
    seeds: { [halite, litefs, "{a: [*b, &b {<<: *b}]}", "- x\n"].map { Array($0.utf8) } }
  ) { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    var expansion = EnvironmentExpansion(environment: environment, file: "halite.yml")
    let expanded = expansion.expand(text)
    for text in [text, expanded] {
      var parser = ConfigurationParser(
        file: "halite.yml",
        baseDirectory: "/etc",
        environment: environment
      )
      let configuration = parser.parse(text)
      _ = ConfigurationChecks(file: "halite.yml", lines: parser.lines).check(configuration)
      // What a person has to read is bounded by what a person has written.
      try FuzzFinding.check(
        parser.reader.problems.count <= 20 + text.utf8.count,
        "\(parser.reader.problems.count) problems in \(text.utf8.count) bytes"
      )
      guard parser.reader.problems.isEmpty else { continue }
      try checkPrinted(configuration)
    }
  }

  /// What `halite config print` prints is a configuration without problems.
  private static func checkPrinted(_ configuration: Configuration) throws {
    let printed = configuration.yaml
    var parser = ConfigurationParser(
      file: "printed.yml",
      baseDirectory: "/etc",
      environment: environment
    )
    _ = parser.parse(printed)
    try FuzzFinding.check(
      parser.reader.problems.isEmpty,
      "a printed configuration is refused: \(parser.reader.problems) in\n\(printed)"
    )
  }

  private static let halite = """
    fuse: {dir: mnt, allow-other: yes, passthrough: off}
    data: {dir: /srv/$A, retention: 1h30m, max-log-size: 64MiB, compress: false}
    http: {addr: "127.0.0.1:8080"}
    replication: {addr: "${ADDR}", advertise: "127.0.0.1:20203", sync: async, max-lag: 250ms,
                  tls: {ca: ca.pem, cert: node.pem, key: "~/key.pem"}}
    lease: {type: static, hostname: "${HOSTNAME}", primary: "127.0.0.1:20203"}
    exec: "server --name 'a b' \\"c\\" d\\\\ e"
    exec-stop-timeout: 5s
    log: {format: json, level: debug}
    """

  private static let litefs = """
    fuse:
      dir: "/litefs"
      allow-other: true
    data:
      dir: "/var/lib/litefs"
      compress: true
      retention: "10m"
    exec:
      - cmd: "myapp -addr :8081"
        if-candidate: ${A == 'alpha'}
    lease:
      type: "static"
      advertise-url: "http://localhost:20202"
      candidate: true
    proxy: {addr: ":8080", target: "localhost:8081", db: "my.db"}
    log: {format: text}
    """

  /// Small languages of a line.
  static let texts = FuzzTarget(
    "texts",
    maxBytes: 256,
    seeds: {
      [
        "1h30m", "-5.5ms", "1e400h", "64MiB", "9223372036854775807", "127.0.0.1:20203",
        "[::1]:80", "server --name 'a b' \"c\" d\\ e", "~/x/../y", "${A == 'x'}", "$A ${B}",
      ].map { Array($0.utf8) }
    }
  ) { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    if let duration = Quantities.duration(text) {
      _ = Quantities.text(duration)
    }
    if let size = Quantities.size(text) { _ = Quantities.text(bytes: size) }
    if let address = SocketAddressText(text, defaultPort: 1) {
      try FuzzFinding.check(
        SocketAddressText("\(address)") == address,
        "\(text) is read as the address \(address), which is read as another one"
      )
    }
    _ = ShellWords.split(text)
    let path = Paths.absolute(text, base: "/etc", home: "/root")
    try FuzzFinding.check(path.hasPrefix("/"), "\(text) is no absolute path: \(path)")
    var expansion = EnvironmentExpansion(environment: environment, file: "x")
    let expanded = expansion.expand(text)
    try FuzzFinding.check(
      expanded.utf8.count <= 32 * (text.utf8.count + 1),
      "\(text.utf8.count) bytes expand to \(expanded.utf8.count)"
    )
  }

  /// The bytes a client sends on one connection.
  static let http = FuzzTarget(
    "http",
    maxBytes: 4096,
    seeds: {
      let requests = ["/health", "/ready", "/metrics", "/status", "/", "/events", "/x?y=%zz"].map {
        "GET \($0) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
      }
      return
        (requests + [
          "HEAD /events HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\n"
            + "Content-Length: 5\r\n\r\nhello",
          "POST /status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
          "GET http://[::1]:80/%2e%2e/status HTTP/1.0\r\n\r\n",
        ]).map { Array($0.utf8) }
    }
  ) { bytes in
    try HTTPVictim.shared.attack(bytes)
  }
}
