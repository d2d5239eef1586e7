#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Paths as texts, and the one question about them that needs the disk.
enum Paths {
  /// An absolute path without `.`, `..`, doubled or trailing slashes.
  ///
  /// `..` is resolved in the text, as a shell's `cd` does.
  static func absolute(_ text: String, base: String, home: String?) -> String {
    var text = text
    if text == "~" || text.hasPrefix("~/"), let home { text = home + text.dropFirst() }
    if !text.hasPrefix("/") { text = base + "/" + text }
    var parts: [Substring] = []
    for part in text.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  /// Whether a path is another, or lies inside it.
  static func isWithin(_ path: String, _ directory: String) -> Bool {
    directory == "/" || path == directory || path.hasPrefix(directory + "/")
  }

  static func parent(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }

  static func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? ""
  }

  /// The path with the symbolic links of its existing part followed.
  static func resolved(_ path: String) -> String {
    var existing = path
    var rest: [String] = []
    while existing != "/" {
      if let real = realpath(existing, nil) {
        defer { free(real) }
        let base = String(cString: real)
        return ([base == "/" ? "" : base] + rest.reversed()).joined(separator: "/")
      }
      rest.append(lastComponent(existing))
      existing = parent(existing)
    }
    return path
  }
}
