import Foundation
import Testing

@testable import Node

/// Parses a text as if it were `/etc/halite.yml`, without the checks that need the disk.
func parseConfiguration(
  _ text: String,
  environment: [String: String] = ["HOSTNAME": "node1"]
) -> (Configuration, [String]) {
  var parser = ConfigurationParser(
    file: "halite.yml",
    baseDirectory: "/etc",
    environment: environment
  )
  let configuration = parser.parse(text)
  let problems =
    parser.reader.problems
    + ConfigurationChecks(file: "halite.yml", lines: parser.lines).check(configuration)
  return (configuration, problems.map(\.description))
}

@Suite struct ConfigurationTests {
  @Test func anEmptyFileIsASingleNodeWithDefaults() {
    let (configuration, problems) = parseConfiguration("")
    #expect(problems == [])
    #expect(configuration.fuse.directory == "/litefs")
    #expect(configuration.data.directory == "/var/lib/halite")
    #expect(configuration.data.controlSocket == "/var/lib/halite/control.sock")
    #expect(configuration.data.retention == .seconds(600))
    #expect(configuration.data.maxLogSize == 1 << 30)
    #expect(configuration.data.scrubRate == 8 << 20)
    #expect(configuration.data.scrubInterval == .seconds(86_400))
    #expect(configuration.http.address == SocketAddressText(host: "", port: 20_202))
    #expect(configuration.lease == LeaseConfiguration(hostname: "node1", kind: .single))
    #expect(configuration.isCandidate)
  }

  @Test func everyKeyIsRead() {
    let (configuration, problems) = parseConfiguration(
      """
      fuse: {dir: mnt, allow-other: yes, passthrough: off, low-latency: on}
      data: {dir: /srv/data, retention: 1h30m, max-log-size: 64MiB, compress: false,
             scrub-rate: 512KiB, scrub-interval: 12h, control-socket: /run/halite.sock}
      http: {addr: "127.0.0.1:8080"}
      replication: {addr: "127.0.0.1:20203", advertise: "127.0.0.1:20203", sync: async,
                    max-lag: 250ms, tls: {insecure: true}}
      lease: {type: static, hostname: node2, primary: "127.0.0.1:20204"}
      write-forwarding: false
      reads: local
      exec: "server --name 'a b' \\"c\\" d\\\\ e"
      exec-stop-timeout: 5s
      log: {format: json, level: debug}
      """
    )
    #expect(problems == [])
    #expect(
      configuration.fuse
        == FuseConfiguration(
          directory: "/etc/mnt",
          allowOther: true,
          passthrough: .off,
          lowLatency: true
        )
    )
    #expect(
      configuration.data
        == DataConfiguration(
          directory: "/srv/data",
          retention: .seconds(5400),
          maxLogSize: 64 << 20,
          compress: false,
          scrubRate: 512 << 10,
          scrubInterval: .seconds(43_200),
          controlSocket: "/run/halite.sock"
        )
    )
    #expect(configuration.http.address == SocketAddressText(host: "127.0.0.1", port: 8080))
    #expect(configuration.replication.maxLag == .milliseconds(250))
    #expect(configuration.replication.tls == .insecure)
    let primary = SocketAddressText(host: "127.0.0.1", port: 20_204)
    #expect(configuration.lease.kind == .fixed(primary: primary, isPrimary: false))
    #expect(!configuration.isCandidate)
    #expect(configuration.exec.map(\.arguments) == [["server", "--name", "a b", "c", "d e"]])
    #expect(configuration.execStopTimeout == .seconds(5))
    #expect(configuration.log == LogConfiguration(format: .json, level: .debug))
    #expect(configuration.writeForwarding == false)
  }

  @Test(arguments: ["off", "0", "\"off\""]) func theScrubCanBeTurnedOff(value: String) {
    let (configuration, problems) = parseConfiguration("data: {scrub-rate: \(value)}")
    #expect(problems == [])
    #expect(configuration.data.scrubRate == 0)
    let (again, _) = parseConfiguration(configuration.yaml)
    #expect(configuration.yaml.contains("scrub-rate: off") && again.data == configuration.data)
  }

  @Test func theNodeWhoseAddressIsThePrimarysIsThePrimary() {
    let text = """
      replication: {tls: {insecure: true}, addr: "localhost:20203", advertise: "localhost:20203"}
      lease: {type: static, primary: "localhost:20203"}
      """
    let (configuration, problems) = parseConfiguration(text)
    #expect(problems == [])
    #expect(configuration.isCandidate)
  }

  @Test(arguments: [
    ("fuze: {dir: /a}", "halite.yml:1: error: unknown key \"fuze\"; did you mean \"fuse\"?"),
    (
      "data:\n  dirr: /a",
      "halite.yml:2: error: unknown key \"data.dirr\"; did you mean \"dir\"?"
    ),
    (
      "log: {zebra: 1}",
      "halite.yml:1: error: unknown key \"log.zebra\"; known here: format, level, debug"
    ),
    ("data: 5", "halite.yml:1: error: \"data\" must hold keys such as \"dir: value\""),
    ("- a", "halite.yml:1: error: the file must hold keys such as \"fuse: value\""),
    (
      "data:\n  retention: soon",
      "halite.yml:2: error: \"data.retention\" must be a duration such as 10m, 2s or 250ms, "
        + "not \"soon\""
    ),
    (
      "data: {retention: 10ms}",
      "halite.yml:1: error: \"data.retention\" must be at least 1s"
    ),
    (
      "data: {scrub-rate: fast}",
      "halite.yml:1: error: \"data.scrub-rate\" must be a size such as 64MiB or 1GiB, "
        + "not \"fast\""
    ),
    (
      "data: {scrub-interval: 0}",
      "halite.yml:1: error: \"data.scrub-interval\" must be at least 1s"
    ),
    (
      "data: {max-log-size: 1 parsec}",
      "halite.yml:1: error: \"data.max-log-size\" must be a size such as 64MiB or 1GiB, "
        + "not \"1 parsec\""
    ),
    (
      "fuse: {allow-other: perhaps}",
      "halite.yml:1: error: \"fuse.allow-other\" must be true or false, not \"perhaps\""
    ),
    (
      "http: {addr: nonsense}",
      "halite.yml:1: error: \"http.addr\" must be an address such as :20202 or "
        + "127.0.0.1:20202, not \"nonsense\""
    ),
    (
      "log: {level: loud}",
      "halite.yml:1: error: \"log.level\" must be one of trace, debug, info, notice, warning, "
        + "error, critical, not \"loud\""
    ),
    (
      "log:\n  level: [a]",
      "halite.yml:2: error: \"log.level\" must be a single value"
    ),
    (
      "reads: linearizable\nmax-staleness: 2s",
      "halite.yml:2: error: \"max-staleness\" is for \"reads: local\"; linearizable reads are never stale"
    ),
    (
      "a: 1\na: 2",
      "halite.yml:1: error: \"a\" stands twice in this mapping; remove one"
    ),
    (
      "fuse: {dir: \"\"}",
      "halite.yml:1: error: \"fuse.dir\" is empty; give a path or remove the key"
    ),
    (
      "exec: \"a 'b\"",
      "halite.yml:1: error: \"exec\" has a quote that is not closed, or ends in a backslash"
    ),
    ("exec:\n- if-candidate: true", "halite.yml:2: error: \"exec[0]\" needs a \"cmd\""),
    (
      "fuse: {dir: /a}\ndata: {dir: /a}",
      "halite.yml:1: error: \"fuse.dir\" and \"data.dir\" are the same directory (/a); the "
        + "application uses the first, the node keeps its files in the second"
    ),
    (
      "fuse: {dir: /a}\ndata: {dir: /a/b/../c}",
      "halite.yml:2: error: \"data.dir\" (/a/c) lies inside \"fuse.dir\" (/a); move it out: the "
        + "node cannot keep its files in its own mount"
    ),
    (
      "data: {dir: /a}\nfuse: {dir: /a/b}",
      "halite.yml:2: error: \"fuse.dir\" (/a/b) lies inside \"data.dir\" (/a); move it out"
    ),
    (
      "fuse: {dir: /}",
      "halite.yml:1: error: \"fuse.dir\" is the root directory; give the mount its own"
    ),
  ])
  func mistakesAreOneClearLine(text: String, message: String) {
    let (_, problems) = parseConfiguration(text)
    #expect(problems == [message])
  }

  @Test(arguments: ["consul", "etcd", "kubernetes"])
  func leaseTypesOfLaterVersionsAreRefused(type: String) {
    let (_, problems) = parseConfiguration("lease: {type: \(type), hostname: a}")
    #expect(problems.count == 1)
    #expect(problems.first?.contains("\"lease.type: \(type)\" is not available") == true)
  }

  @Test func aClusterNeedsCertificates() {
    let (_, problems) = parseConfiguration("lease: {type: static, primary: \"node1:20203\"}")
    #expect(problems.count == 1)
    #expect(problems.first?.contains("\"replication.tls\" is missing") == true)
    let (_, incomplete) = parseConfiguration(
      """
      replication: {tls: {ca: ca.pem}}
      lease: {type: static, primary: "node1:20203"}
      """
    )
    #expect(
      incomplete == [
        "halite.yml:1: error: \"replication.tls\" needs ca, cert and key; missing: cert, key"
      ]
    )
  }

  @Test func plainTextIsForLoopbackOnly() {
    let (_, problems) = parseConfiguration(
      """
      replication: {tls: {insecure: true}}
      lease: {type: static, primary: "10.0.0.1:20203"}
      """
    )
    #expect(problems.count == 2)
    #expect(problems.allSatisfy { $0.contains("allowed on loopback only") })
  }

  @Test func nestingAndSizeAreBounded() {
    for text in [
      String(repeating: "[", count: 100_000),
      String(repeating: "- ", count: 100_000),
      (0..<1000).map { String(repeating: " ", count: $0) + "a:" }.joined(separator: "\n"),
      String(repeating: "x", count: ConfigurationParser.maximumBytes + 1),
    ] {
      let (_, problems) = parseConfiguration(text)
      #expect(problems.count == 1)
      #expect(problems.first?.contains("is it the right") == true)
    }
  }

  @Test func aliasesDoNotMultiply() {
    var text = "a0: &a0 [x, x]\n"
    for level in 1...60 {
      let items = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      text += "a\(level): &a\(level) [\(items)]\n"
    }
    let (_, problems) = parseConfiguration(text)
    #expect(problems.count == 61)
  }

  @Test func damagedFilesNeverTrap() {
    let text = """
      fuse: {dir: /a, allow-other: false}
      data: {dir: /b, retention: 10m}
      exec:
        - cmd: "a b"
          if-candidate: ${X == 'y'}
      lease: {type: static, primary: "a:1"}
      """
    let bytes = Array(text.utf8)
    var generator = SeededGenerator(state: 7)
    for _ in 0..<2000 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        damaged[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
          in: 0...255,
          using: &generator
        )
      }
      let damagedText = String(decoding: damaged, as: UTF8.self)
      var expansion = EnvironmentExpansion(environment: [:], file: "halite.yml")
      let (configuration, _) = parseConfiguration(expansion.expand(damagedText))
      #expect(!configuration.fuse.directory.isEmpty)
    }
  }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
