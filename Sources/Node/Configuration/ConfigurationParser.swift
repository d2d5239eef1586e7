import Yams

/// Turns the text of a configuration file into a `Configuration`, without touching the disk.
///
/// The keys are those of `docs/configuration.md`; a `litefs.yml` is read too: each key of LiteFS
/// either works or is named, in a warning, as having no effect.
struct ConfigurationParser {
  /// What the command line adds to, or puts in the place of, the file's keys.
  struct Overrides {
    var mount: String?
    var data: String?
    var command: [String] = []
  }

  let environment: [String: String]
  /// Where relative paths of the file begin: the directory it lies in.
  let baseDirectory: String
  let overrides: Overrides
  var reader: YAMLReader
  /// The lines of keys that later checks may want to point at.
  private(set) var lines: [String: Int] = [:]

  init(
    file: String,
    baseDirectory: String,
    environment: [String: String],
    overrides: Overrides = Overrides()
  ) {
    self.environment = environment
    self.baseDirectory = baseDirectory
    self.overrides = overrides
    reader = YAMLReader(file: file)
  }

  /// Longer files are refused before they are parsed; a real one has a few dozen lines.
  static let maximumBytes = 256 * 1024
  /// Deeper nesting than this is refused before libyaml's recursive composer sees it.
  private static let maximumNesting = 64

  static let topKeys = [
    "fuse", "data", "http", "replication", "lease", "write-forwarding", "reads", "max-staleness",
    "exec", "exec-stop-timeout", "log",
  ]

  /// Keys of LiteFS that mean nothing here, and why.
  static let ignoredTopKeys = [
    "exit-on-error": "a node that cannot start always exits, and one that runs never does",
    "skip-sync": "what SQLite syncs is durable when its fsync returns",
    "strict-verify": "every transaction is verified",
    "proxy": "there is no HTTP proxy in this version; any node may be asked for /status",
    "backup": "there is no backup in this version",
    "tracing": "use \"log.level: trace\"",
  ]

  /// Reads the whole file. The result is to be used only when `reader.problems` has no error.
  mutating func parse(_ text: String) -> Configuration {
    let root = reader.section(
      compose(text),
      path: "",
      keys: Self.topKeys,
      ignored: Self.ignoredTopKeys
    )
    let data = parseData(root)
    let fuse = parseFuse(root)
    let http = parseHTTP(root)
    let (replication, lease) = parseCluster(root)
    if case .quorum = lease.kind { checkQuorum(root, passthrough: fuse.passthrough) }
    let forwarding = reader.bool(root, "write-forwarding")
    let reads = reader.choice(root, "reads", ReadConsistency.self)
    let staleness = reader.duration(root, "max-staleness")
    if reads == .linearizable, staleness != nil {
      reader.error(
        root.line(of: "max-staleness"),
        "\"max-staleness\" is for \"reads: local\"; linearizable reads are never stale"
      )
    }
    return Configuration(
      fuse: fuse,
      data: data,
      http: http,
      replication: replication,
      lease: lease,
      writeForwarding: forwarding ?? true,
      reads: reads ?? .local,
      maxStaleness: staleness,
      exec: overrides.command.isEmpty
        ? parseExec(root) : [ExecCommand(arguments: overrides.command)],
      execStopTimeout: reader.duration(root, "exec-stop-timeout") ?? .seconds(30),
      log: parseLog(root)
    )
  }

  /// Remembers where a key stands.
  mutating func note(_ section: YAMLSection, _ key: String) {
    if section.has(key) { lines[section.name(of: key)] = section.line(of: key) }
  }

  private mutating func compose(_ text: String) -> YAMLNode? {
    guard text.utf8.count <= Self.maximumBytes else {
      reader.error(nil, "the file is larger than \(Self.maximumBytes) bytes; is it the right one?")
      return nil
    }
    if let line = Self.lineOfExcessiveNesting(text) {
      reader.error(line, "nested deeper than \(Self.maximumNesting) levels; is it the right file?")
      return nil
    }
    do {
      return try Yams.compose(yaml: text)
    } catch let error as YamlError {
      report(error, in: text)
    } catch {
      reader.error(nil, "not readable as YAML: \(error)")
    }
    return nil
  }

  private mutating func report(_ error: YamlError, in text: String) {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      reader.error(mark.line, "not valid YAML: \(problem)")
    case .duplicatedKeysInMapping(let names, let context):
      reader.error(
        context.mark.line,
        "\(names.map { "\"\($0)\"" }.joined(separator: ", ")) stands twice in this mapping; "
          + "remove one"
      )
    case .reader(let problem, _, _, _):
      reader.error(nil, "not valid YAML: \(problem); the file must be UTF-8 text")
    default:
      reader.error(nil, "not valid YAML: \(error)")
    }
  }

  /// An upper bound by counting: brackets that open, and indentation that grows.
  private static func lineOfExcessiveNesting(_ text: String) -> Int? {
    var line = 1
    var brackets = 0
    var indentations: [Int] = [0]
    var column = 0
    var isIndentation = true
    for byte in text.utf8 {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 0
        isIndentation = true
        continue
      }
      if isIndentation, byte != UInt8(ascii: " "), byte != UInt8(ascii: "\r") {
        // "- - - a" nests as well as indentation does.
        if byte != UInt8(ascii: "-") { isIndentation = false }
        while let last = indentations.last, last > column { indentations.removeLast() }
        if let last = indentations.last, last < column { indentations.append(column) }
      }
      column += 1
      if byte == UInt8(ascii: "[") || byte == UInt8(ascii: "{") { brackets += 1 }
      if byte == UInt8(ascii: "]") || byte == UInt8(ascii: "}") { brackets = max(0, brackets - 1) }
      if brackets > maximumNesting || indentations.count > maximumNesting { return line }
    }
    return nil
  }

  // MARK: - Sections

  private mutating func parseFuse(_ root: YAMLSection) -> FuseConfiguration {
    let section = reader.section(
      root,
      "fuse",
      keys: ["dir", "allow-other", "passthrough", "low-latency"],
      ignored: ["debug": "use \"log.level: trace\""]
    )
    note(section, "dir")
    return FuseConfiguration(
      directory: overrides.mount ?? path(section, "dir") ?? "/litefs",
      allowOther: reader.bool(section, "allow-other") ?? false,
      passthrough: reader.passthrough(section) ?? .databases,
      lowLatency: reader.bool(section, "low-latency")
    )
  }

  private mutating func parseData(_ root: YAMLSection) -> DataConfiguration {
    let section = reader.section(
      root,
      "data",
      keys: [
        "dir", "retention", "max-log-size", "compress", "scrub-rate", "scrub-interval",
        "control-socket",
      ],
      ignored: ["retention-monitor-interval": "retention is enforced as the log grows"]
    )
    note(section, "dir")
    note(section, "control-socket")
    let directory = overrides.data ?? path(section, "dir") ?? "/var/lib/halite"
    return DataConfiguration(
      directory: directory,
      retention: reader.duration(section, "retention", atLeast: .seconds(1)) ?? .seconds(600),
      maxLogSize: reader.size(section, "max-log-size", atLeast: 1 << 20) ?? 1 << 30,
      compress: reader.bool(section, "compress") ?? true,
      scrubRate: parseScrubRate(section),
      scrubInterval: reader.duration(section, "scrub-interval", atLeast: .seconds(1))
        ?? .seconds(86_400),
      controlSocket: path(section, "control-socket") ?? "\(directory)/control.sock"
    )
  }

  /// Bytes in a second, or `off`.
  private mutating func parseScrubRate(_ section: YAMLSection) -> Int64 {
    if reader.isOff(section, "scrub-rate") { return 0 }
    return reader.size(section, "scrub-rate", atLeast: 0) ?? 8 << 20
  }

  private mutating func parseHTTP(_ root: YAMLSection) -> HTTPConfiguration {
    let section = reader.section(
      root,
      "http",
      keys: ["addr"],
      ignored: ["snapshot-timeout": "a snapshot holds nothing back and may be resumed"]
    )
    note(section, "addr")
    if section.has("addr") {
      let text = reader.string(section, "addr")
      if let text, text.isEmpty || text == "off" {
        return HTTPConfiguration(address: nil, isDefault: false)
      }
      return HTTPConfiguration(address: reader.address(section, "addr"), isDefault: false)
    }
    return HTTPConfiguration(address: SocketAddressText(host: "", port: 20_202), isDefault: true)
  }

  private mutating func parseLog(_ root: YAMLSection) -> LogConfiguration {
    let section = reader.section(
      root,
      "log",
      keys: ["format", "level", "debug"],
      ignored: ["timestamp": "every line begins with the time"]
    )
    let level = reader.choice(section, "level", LogConfiguration.Level.self)
    let debug = reader.bool(section, "debug") ?? false
    return LogConfiguration(
      format: reader.choice(section, "format", LogConfiguration.Format.self) ?? .text,
      level: level ?? (debug ? .debug : .info)
    )
  }

  /// An absolute path: relative ones begin at the file's directory, `~/` at the home directory.
  mutating func path(_ section: YAMLSection, _ key: String) -> String? {
    guard let text = reader.string(section, key) else { return nil }
    guard !text.isEmpty, !text.contains("\0") else {
      reader.error(
        section.line(of: key),
        "\"\(section.name(of: key))\" is empty; give a path or remove the key"
      )
      return nil
    }
    return Paths.absolute(text, base: baseDirectory, home: environment["HOME"])
  }
}
