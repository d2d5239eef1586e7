/// Swift source with comments and the text of strings blanked out, so that patterns match code
/// alone. Lines keep their numbers; code interpolated into strings stays.
struct SwiftText {
  let code: [Substring]

  init(_ text: String) {
    var lexer = Lexer(Array(text.utf8))
    lexer.run()
    code = String(decoding: lexer.output, as: UTF8.self).split(
      separator: "\n",
      omittingEmptySubsequences: false
    )
  }

  private struct Lexer {
    let input: [UInt8]
    var output: [UInt8] = []
    var position = 0

    init(_ input: [UInt8]) { self.input = input }

    mutating func run() {
      while position < input.count { step(endsAtParenthesis: false) }
    }

    private static func byte(_ character: Unicode.Scalar) -> UInt8 { UInt8(ascii: character) }

    private func at(_ text: String) -> Bool {
      var index = position
      for byte in text.utf8 {
        guard index < input.count, input[index] == byte else { return false }
        index += 1
      }
      return true
    }

    private mutating func keep() {
      output.append(input[position])
      position += 1
    }

    private mutating func blank(_ count: Int = 1) {
      for _ in 0..<count where position < input.count {
        output.append(Self.byte(input[position] == Self.byte("\n") ? "\n" : " "))
        position += 1
      }
    }

    /// Code up to the next interesting place. In an interpolation it ends at the closing
    /// parenthesis, which is not consumed.
    private mutating func step(endsAtParenthesis: Bool) {
      var depth = 0
      while position < input.count {
        if at("//") {
          while position < input.count, input[position] != Self.byte("\n") { blank() }
        } else if at("/*") {
          comment()
        } else if let quote = openingQuote() {
          string(quote.hashes, quote.isMultiline)
        } else {
          if input[position] == Self.byte("(") { depth += 1 }
          if input[position] == Self.byte(")") {
            if endsAtParenthesis, depth == 0 { return }
            depth -= 1
          }
          keep()
        }
      }
    }

    private mutating func comment() {
      var depth = 0
      repeat {
        if at("/*") {
          depth += 1
          blank(2)
        } else if at("*/") {
          depth -= 1
          blank(2)
        } else {
          blank()
        }
      } while depth > 0 && position < input.count
    }

    private func openingQuote() -> (hashes: Int, isMultiline: Bool)? {
      var index = position
      while index < input.count, input[index] == Self.byte("#") { index += 1 }
      guard index < input.count, input[index] == Self.byte("\"") else { return nil }
      let isMultiline =
        index + 2 < input.count && input[index + 1] == Self.byte("\"")
        && input[index + 2] == Self.byte("\"")
      return (index - position, isMultiline)
    }

    private mutating func string(_ hashes: Int, _ isMultiline: Bool) {
      let marks = String(repeating: "#", count: hashes)
      let close = (isMultiline ? "\"\"\"" : "\"") + marks
      let escape = "\\" + marks
      // The quotes stay, so that what stands before and after is not joined.
      blank(hashes)
      keep()
      if isMultiline { blank(2) }
      while position < input.count {
        if at(close) {
          keep()
          blank(close.count - 1)
          return
        }
        if at(escape + "(") {
          blank(escape.count)
          keep()
          step(endsAtParenthesis: true)
          if position < input.count { keep() }
        } else if at(escape) {
          blank(escape.count + 1)
        } else {
          blank()
        }
      }
    }
  }
}

extension SwiftText {
  struct Function: Equatable {
    let line: Int
    let lines: Int
  }

  /// Functions, initializers and subscripts with a body: their first line and how many they have.
  func functions() -> [Function] {
    var functions: [Function] = []
    for (index, line) in code.enumerated() where Self.declares(line) {
      if let end = endOfBody(from: index) {
        functions.append(Function(line: index + 1, lines: end - index + 1))
      }
    }
    return functions
  }

  private static func declares(_ line: Substring) -> Bool {
    let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@" || $0 == ".") }
    for word in words {
      if ["func", "init", "deinit", "subscript"].contains(word) { return true }
      // Modifiers and attributes may come before; anything else means this is no declaration.
      let modifiers: Set<Substring> = [
        "package", "public", "private", "internal", "fileprivate", "open", "static", "class",
        "mutating", "nonmutating", "consuming", "borrowing", "nonisolated", "override", "final",
        "required", "convenience", "isolated", "prefix", "postfix", "infix",
      ]
      guard modifiers.contains(word) || word.hasPrefix("@") else { return false }
    }
    return false
  }

  /// The line of the brace that closes a body; nil for a requirement of a protocol.
  private func endOfBody(from start: Int) -> Int? {
    var braces = 0
    var parentheses = 0
    var isOpen = false
    for index in start..<code.count {
      if index > start, !isOpen, parentheses == 0, Self.declares(code[index]) { return nil }
      for character in code[index] {
        switch character {
        case "(", "[": parentheses += 1
        case ")", "]": parentheses -= 1
        case "{" where isOpen || parentheses == 0:
          isOpen = true
          braces += 1
        case "}" where isOpen:
          braces -= 1
          if braces == 0 { return index }
        case "}" where parentheses == 0: return nil
        default: break
        }
      }
    }
    return nil
  }
}
