/// Environment variables in a configuration file, replaced before the YAML is read.
///
/// The forms are those of LiteFS: `$NAME`, `${NAME}`, and the comparisons `${NAME == 'text'}`,
/// `${NAME == "text"}`, `${NAME == OTHER}` and the same with `!=`, which become `true` or `false`.
/// An unset variable is empty. Where LiteFS follows a shell less closely this does not: `$1` and a
/// lone `$` stay as they are (so `exec: "sh -c 'echo $1'"` works), and `$$` is one `$`.
struct EnvironmentExpansion {
  let environment: [String: String]
  let file: String
  private(set) var problems: [ConfigurationProblem] = []
  private var line = 1
  /// Within what is, or looks like, a comment; nothing is reported there.
  private var isComment = false

  init(environment: [String: String], file: String) {
    self.environment = environment
    self.file = file
  }

  /// The text with all variables replaced; what cannot be is reported in `problems`.
  mutating func expand(_ text: String) -> String {
    var output = ""
    var rest = Substring(text)
    var previous: Character = "\n"
    while let character = rest.first {
      if character.isNewline {
        line += 1
        isComment = false
      } else if character == "#", previous.isWhitespace {
        isComment = true
      }
      previous = character
      guard character == "$" else {
        output.append(character)
        rest.removeFirst()
        continue
      }
      rest.removeFirst()
      output += expandReference(&rest)
    }
    return output
  }

  /// Replaces what follows a `$`.
  private mutating func expandReference(_ rest: inout Substring) -> String {
    guard let next = rest.first else { return "$" }
    if next == "$" {
      rest.removeFirst()
      return "$"
    }
    if next == "{" {
      guard let close = rest.firstIndex(where: { $0 == "}" || $0.isNewline }), rest[close] == "}"
      else {
        report(.error, "\"${\" is not closed by \"}\" on the same line; write \"$$\" for a dollar")
        return "$"
      }
      let inner = rest[rest.index(after: rest.startIndex)..<close]
      rest = rest[rest.index(after: close)...]
      return expression(inner)
    }
    let name = rest.prefix(while: Self.isNameCharacter)
    guard let first = name.first, !first.isNumber else { return "$" }
    rest = rest.dropFirst(name.count)
    return value(of: name)
  }

  /// The inside of `${…}`.
  private mutating func expression(_ text: Substring) -> String {
    for (symbol, wanted) in [("==", true), ("!=", false)] {
      guard let range = Self.range(of: symbol, in: text) else { continue }
      let left = Self.trim(text[..<range.lowerBound])
      let right = Self.trim(text[range.upperBound...])
      guard Self.isName(left), let other = operand(right) else { break }
      return (value(of: left, mayBeUnset: true) == other) == wanted ? "true" : "false"
    }
    let name = Self.trim(text)
    guard Self.isName(name) else {
      report(
        .error,
        "\"${\(text)}\" is neither ${NAME} nor a comparison such as ${NAME == 'value'}"
      )
      return ""
    }
    return value(of: name)
  }

  /// The right side of a comparison: a quoted text or a variable.
  private mutating func operand(_ text: Substring) -> String? {
    for quote in ["'", "\""] where text.hasPrefix(quote) {
      guard text.count >= 2, text.hasSuffix(quote) else { return nil }
      return String(text.dropFirst().dropLast())
    }
    return Self.isName(text) ? value(of: text, mayBeUnset: true) : nil
  }

  private mutating func value(of name: Substring, mayBeUnset: Bool = false) -> String {
    guard let value = environment[String(name)] else {
      if !mayBeUnset {
        report(.warning, "environment variable \(name) is not set; it stands for nothing here")
      }
      return ""
    }
    guard !value.contains(where: \.isNewline) else {
      report(.error, "environment variable \(name) holds a line break; remove it")
      return ""
    }
    return value
  }

  private mutating func report(_ severity: ConfigurationProblem.Severity, _ message: String) {
    guard !isComment else { return }
    problems.append(
      ConfigurationProblem(severity: severity, file: file, line: line, message: message)
    )
  }

  private static func isNameCharacter(_ character: Character) -> Bool {
    character.isASCII && (character.isLetter || character.isNumber || character == "_")
  }

  private static func isName(_ text: Substring) -> Bool {
    guard let first = text.first, !first.isNumber else { return false }
    return text.allSatisfy(isNameCharacter)
  }

  private static func trim(_ text: Substring) -> Substring {
    var text = text.drop(while: \.isWhitespace)
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return text
  }

  private static func range(of symbol: String, in text: Substring) -> Range<String.Index>? {
    var start = text.startIndex
    while start < text.endIndex {
      if text[start...].hasPrefix(symbol) {
        return start..<text.index(start, offsetBy: symbol.count)
      }
      start = text.index(after: start)
    }
    return nil
  }
}
