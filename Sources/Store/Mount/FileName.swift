/// A path in the mount and what its name means to SQLite.
///
/// SQLite derives the names of a database's companions by suffix (sqlite.org/tempfiles.html), so
/// the name alone tells the role; whether `main` is a database its first 16 bytes tell.
package struct FileName: Hashable, Sendable {
  package enum Role: Sendable {
    /// A database, or any other file.
    case main
    case journal, wal, sharedMemory
  }

  /// Relative to the root of the mount, without a leading slash.
  package let path: String
  package let role: Role
  /// The path of the main file this one belongs to; `path` itself for a main file.
  package let database: String

  package init(_ path: String) {
    self.path = path
    let suffixes: [(String, Role)] = [
      ("-journal", .journal), ("-wal", .wal), ("-shm", .sharedMemory),
    ]
    for (suffix, role) in suffixes
    where path.hasSuffix(suffix) && path.utf8.count > suffix.utf8.count {
      let stem = String(path.dropLast(suffix.count))
      guard !stem.hasSuffix("/") else { break }
      self.role = role
      database = stem
      return
    }
    role = .main
    database = path
  }

  /// Whether it can be the name of a database, wherever it comes from.
  var isDatabase: Bool {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    return role == .main && !isSuperJournal && path.utf8.count <= Self.longest
      && !path.utf8.contains(0)
      && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
  }

  /// In bytes; what the kernel takes for a path.
  private static let longest = 4095

  /// Whether this is the name of a super-journal: that of a database, `-mj`, six hexadecimal digits,
  /// a 9 and two more digits (SQLite gives it to a transaction over several attached databases).
  package var isSuperJournal: Bool {
    let tail = path.utf8.suffix(12)
    guard role == .main, tail.count == 12, path.utf8.count > 12 else { return false }
    let digits = tail.dropFirst(3)
    return tail.starts(with: "-mj".utf8) && digits.dropFirst(6).first == UInt8(ascii: "9")
      && digits.allSatisfy {
        UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
          || UInt8(ascii: "A")...UInt8(ascii: "F") ~= $0
      }
  }
}
