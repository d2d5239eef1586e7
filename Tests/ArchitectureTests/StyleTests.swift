import Testing

/// The rules of style that a machine can see and `swift format` does not.
@Suite(.timeLimit(.minutes(5))) struct StyleTests {
  /// Lines of a file and of a function beyond which nobody reads them as one thing.
  private static let maximumFile = 400
  private static let maximumFunction = 70

  /// Where code may handle memory by hand: the kernel's requests, the formats, the disk.
  private static let unsafeHomes = ["FuseFS/", "LTX/", "Store/Disk/"]
  /// Single files elsewhere, for one call of the C library each.
  private static let unsafeFiles: Set = [
    "Node/Doctor/ClockExamination.swift",  // adjtimex
    "Node/Process/ChildProcess.swift",  // posix_spawn
  ]

  @Test func filesAndFunctionsAreShort() throws {
    for source in try Repository.sources() {
      let text = SwiftText(source.text)
      // The last line is empty: files end in a line feed.
      #expect(text.code.count - 1 <= Self.maximumFile, "\(source) has \(text.code.count - 1) lines")
      for function in text.functions() {
        #expect(
          function.lines <= Self.maximumFunction,
          "\(source):\(function.line) is a function of \(function.lines) lines"
        )
      }
    }
  }

  @Test func nothingIsForced() throws {
    for source in try Repository.sources() {
      for (index, line) in SwiftText(source.text).code.enumerated() {
        #expect(!Self.forces(line), "\(source):\(index + 1) forces: \(line)")
        for word in ["fatalError(", "assertionFailure(", "unowned(unsafe)"] {
          #expect(!line.contains(word), "\(source):\(index + 1) has \(word)")
        }
      }
    }
  }

  @Test func nothingIsLeftToDo() throws {
    for source in try Repository.sources() {
      for (index, line) in source.text.split(separator: "\n", omittingEmptySubsequences: false)
        .enumerated()
      {
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
          #expect(!line.contains(mark), "\(source):\(index + 1) has \(mark)")
        }
      }
    }
  }

  @Test func memoryIsHandledByHandOnlyAtHome() throws {
    let words = [
      "unsafeBitCast", "Unmanaged", ".allocate(", "assumingMemoryBound", "bindMemory",
      "withMemoryRebound",
    ]
    for source in try Repository.sources()
    where !Self.unsafeHomes.contains(where: source.path.hasPrefix)
      && !Self.unsafeFiles.contains(source.path)
    {
      for (index, line) in SwiftText(source.text).code.enumerated() {
        for word in words {
          #expect(!line.contains(word), "\(source):\(index + 1) has \(word)")
        }
      }
    }
  }

  /// Whether a line has `x!`, `try!`, `as!` or an implicitly unwrapped type.
  private static func forces(_ line: Substring) -> Bool {
    var previous: Character = " "
    let characters = Array(line)
    for (index, character) in characters.enumerated() {
      defer { previous = character }
      guard character == "!" else { continue }
      let next = index + 1 < characters.count ? characters[index + 1] : " "
      let follows =
        previous.isLetter || previous.isNumber || ["_", ")", "]", "}", "?", ">"].contains(previous)
      if follows, next != "=" { return true }
    }
    return false
  }
}
