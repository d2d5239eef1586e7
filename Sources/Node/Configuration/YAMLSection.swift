import Yams

/// `Node` alone is this module's own name.
typealias YAMLNode = Yams.Node

/// A mapping of the configuration file, its keys checked against those that may stand there.
struct YAMLSection {
  /// The keys above this mapping, as `lease.quorum`; empty at the top.
  let path: String
  let line: Int?
  fileprivate let values: [String: YAMLNode]
  fileprivate let lines: [String: Int]

  static func empty(_ path: String) -> YAMLSection {
    YAMLSection(path: path, line: nil, values: [:], lines: [:])
  }

  func has(_ key: String) -> Bool { values[key] != nil }
  func line(of key: String) -> Int? { lines[key] ?? line }
  func name(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
}

/// Reads sections and scalars out of YAML and gathers everything that is wrong with them.
///
/// Yams by itself refuses no key and turns `on` or `yes` into booleans wherever it decodes; here a
/// text stays what was written, and each value is read as the one type its key has.
struct YAMLReader {
  let file: String
  private(set) var problems: [ConfigurationProblem] = []

  init(file: String) { self.file = file }

  mutating func error(_ line: Int?, _ message: String) {
    problems.append(
      ConfigurationProblem(severity: .error, file: file, line: line, message: message)
    )
  }

  mutating func warning(_ line: Int?, _ message: String) {
    problems.append(
      ConfigurationProblem(severity: .warning, file: file, line: line, message: message)
    )
  }

  /// Reads a mapping.
  ///
  /// - Parameters:
  ///   - keys: the names that may stand in it.
  ///   - ignored: names of LiteFS that have no effect here, each with the reason.
  mutating func section(
    _ node: YAMLNode?,
    path: String,
    line: Int? = nil,
    keys: [String],
    ignored: [String: String] = [:]
  ) -> YAMLSection {
    guard let node, !Self.isNull(node) else { return .empty(path) }
    guard case .mapping(let mapping) = node else {
      let what = path.isEmpty ? "the file" : "\"\(path)\""
      error(
        line ?? node.mark?.line,
        "\(what) must hold keys such as \"\(keys.first ?? "key"): value\""
      )
      return .empty(path)
    }
    var values: [String: YAMLNode] = [:]
    var lines: [String: Int] = [:]
    for (keyNode, value) in mapping {
      let keyLine = keyNode.mark?.line
      guard case .scalar(let scalar) = keyNode else {
        error(keyLine, "a key must be a plain name")
        continue
      }
      let key = scalar.string
      let full = path.isEmpty ? key : "\(path).\(key)"
      if keys.contains(key) {
        lines[key] = keyLine
        if !Self.isNull(value) { values[key] = value }
      } else if let reason = ignored[key] {
        warning(keyLine, "\"\(full)\" has no effect: \(reason)")
      } else {
        error(keyLine, Self.unknownKey(full, key, keys))
      }
    }
    return YAMLSection(path: path, line: line ?? mapping.mark?.line, values: values, lines: lines)
  }

  private static func unknownKey(_ full: String, _ key: String, _ keys: [String]) -> String {
    if let nearest = NearestName.find(key, among: keys) {
      return "unknown key \"\(full)\"; did you mean \"\(nearest)\"?"
    }
    return "unknown key \"\(full)\"; known here: \(keys.joined(separator: ", "))"
  }

  /// Reads a mapping below another.
  mutating func section(
    _ parent: YAMLSection,
    _ key: String,
    keys: [String],
    ignored: [String: String] = [:]
  ) -> YAMLSection {
    section(
      parent.values[key],
      path: parent.name(of: key),
      line: parent.lines[key],
      keys: keys,
      ignored: ignored
    )
  }

  /// The scalar as it is written, or nil when the key is absent or its value is not a scalar.
  mutating func string(_ section: YAMLSection, _ key: String) -> String? {
    guard let node = section.values[key] else { return nil }
    guard case .scalar(let scalar) = node else {
      error(section.line(of: key), "\"\(section.name(of: key))\" must be a single value")
      return nil
    }
    return scalar.string
  }

  mutating func bool(_ section: YAMLSection, _ key: String) -> Bool? {
    guard let text = string(section, key) else { return nil }
    switch text.lowercased() {
    case "true", "yes", "on": return true
    case "false", "no", "off": return false
    default:
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be true or false, not \"\(text)\""
      )
      return nil
    }
  }

  mutating func duration(
    _ section: YAMLSection,
    _ key: String,
    atLeast minimum: Duration = .zero
  ) -> Duration? {
    guard let text = string(section, key) else { return nil }
    guard let value = Quantities.duration(text) else {
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be a duration such as 10m, 2s or 250ms, "
          + "not \"\(text)\""
      )
      return nil
    }
    guard value >= minimum else {
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be at least \(Quantities.text(minimum))"
      )
      return nil
    }
    return value
  }

  mutating func size(_ section: YAMLSection, _ key: String, atLeast minimum: Int64) -> Int64? {
    guard let text = string(section, key) else { return nil }
    guard let value = Quantities.size(text) else {
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be a size such as 64MiB or 1GiB, not \"\(text)\""
      )
      return nil
    }
    guard value >= minimum else {
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be at least \(Quantities.text(bytes: minimum))"
      )
      return nil
    }
    return value
  }

  /// Whether the value is the word `off`.
  func isOff(_ section: YAMLSection, _ key: String) -> Bool {
    guard case .scalar(let scalar)? = section.values[key] else { return false }
    return scalar.string == "off"
  }

  mutating func address(
    _ section: YAMLSection,
    _ key: String,
    needsHost: Bool = false
  ) -> SocketAddressText? {
    guard let text = string(section, key) else { return nil }
    guard let value = SocketAddressText(text), !needsHost || !value.host.isEmpty else {
      let example = needsHost ? "node1:20203 or 10.0.0.1:20203" : ":20202 or 127.0.0.1:20202"
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be an address such as \(example), not \"\(text)\""
      )
      return nil
    }
    return value
  }

  /// `fuse.passthrough`: one of its names, or whether at all.
  mutating func passthrough(_ section: YAMLSection) -> Passthrough? {
    let key = "passthrough"
    guard case .scalar(let scalar)? = section.values[key],
      ["true", "yes", "on", "false", "no"].contains(scalar.string.lowercased())
    else { return choice(section, key, Passthrough.self) }
    return bool(section, key) == true ? .databases : .off
  }

  /// Reads one of a few words.
  mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ section: YAMLSection,
    _ key: String,
    _ type: Choice.Type
  ) -> Choice? where Choice.RawValue == String {
    guard let text = string(section, key) else { return nil }
    if let value = Choice(rawValue: text) { return value }
    let allowed = Choice.allCases.map(\.rawValue).joined(separator: ", ")
    let name = section.name(of: key)
    error(section.line(of: key), "\"\(name)\" must be one of \(allowed), not \"\(text)\"")
    return nil
  }

  /// The elements of a list, or nil when the key is absent or holds a scalar.
  func list(_ section: YAMLSection, _ key: String) -> [YAMLNode]? {
    guard case .sequence(let sequence)? = section.values[key] else { return nil }
    return Array(sequence)
  }

  /// The keys of a mapping whose keys are free, or nil when there is none.
  func names(_ section: YAMLSection, _ key: String) -> [String]? {
    guard case .mapping(let mapping)? = section.values[key] else { return nil }
    return mapping.compactMap { node, _ in
      guard case .scalar(let scalar) = node else { return nil }
      return scalar.string
    }
  }

  private static func isNull(_ node: YAMLNode) -> Bool {
    guard case .scalar(let scalar) = node, scalar.style == .plain || scalar.style == .any
    else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }
}
