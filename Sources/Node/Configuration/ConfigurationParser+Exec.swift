import Yams

extension ConfigurationParser {
  /// Commands are few; a longer list is a mistake.
  private static let maximumCommands = 64

  /// Reads `exec`: one command line, or a list of `{cmd, if-candidate}`.
  mutating func parseExec(_ root: YAMLSection) -> [ExecCommand] {
    guard root.has("exec") else { return [] }
    guard let elements = reader.list(root, "exec") else {
      guard let text = reader.string(root, "exec"), !text.isEmpty else { return [] }
      return words(text, line: root.line(of: "exec"), name: "exec").map {
        [ExecCommand(arguments: $0)]
      } ?? []
    }
    guard elements.count <= Self.maximumCommands else {
      reader.error(
        root.line(of: "exec"),
        "\"exec\" has more than \(Self.maximumCommands) commands"
      )
      return []
    }
    return elements.enumerated().compactMap { index, node in
      parseCommand(node, name: "exec[\(index)]")
    }
  }

  private mutating func parseCommand(_ node: YAMLNode, name: String) -> ExecCommand? {
    let line = node.mark?.line
    if case .scalar(let scalar) = node {
      return words(scalar.string, line: line, name: name).map { ExecCommand(arguments: $0) }
    }
    let section = reader.section(node, path: name, keys: ["cmd", "if-candidate"])
    let onlyIfCandidate = reader.bool(section, "if-candidate") ?? false
    guard let text = reader.string(section, "cmd") else {
      if !section.has("cmd") { reader.error(line, "\"\(name)\" needs a \"cmd\"") }
      return nil
    }
    guard let arguments = words(text, line: section.line(of: "cmd"), name: "\(name).cmd")
    else { return nil }
    return ExecCommand(arguments: arguments, onlyIfCandidate: onlyIfCandidate)
  }

  private mutating func words(_ text: String, line: Int?, name: String) -> [String]? {
    guard let words = ShellWords.split(text) else {
      reader.error(line, "\"\(name)\" has a quote that is not closed, or ends in a backslash")
      return nil
    }
    guard let program = words.first, !program.isEmpty else {
      reader.error(line, "\"\(name)\" is empty; give a command or remove the key")
      return nil
    }
    guard !words.contains(where: { $0.contains("\0") }) else {
      reader.error(line, "\"\(name)\" holds a zero byte")
      return nil
    }
    return words
  }
}
