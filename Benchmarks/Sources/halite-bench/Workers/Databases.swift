import Foundation
import Glibc

/// Makes databases, and copies of them.
enum Databases {
  /// A table of small rows, and the journal mode that stays with the file.
  static func create(_ path: String, journal: String, rows: Int) throws {
    let database = try SQLite(path)
    try database.execute("PRAGMA journal_mode=\(journal)")
    try database.execute("PRAGMA synchronous=NORMAL")
    try database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, value BLOB)")
    let insert = try database.prepare(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
        + "INSERT INTO t SELECT i, randomblob(100) FROM n"
    )
    if rows > 0 { try insert.number(Int64(rows)) }
  }

  /// A database of a given size, half of which LZ4 cannot make smaller.
  static func fill(_ path: String, megabytes: Int) throws {
    let database = try SQLite(path)
    try database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF")
    try database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB, b BLOB)")
    // Seven rows of 512 bytes and their headers fill a page of 4096 bytes.
    let insert = try database.prepare(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
        + "INSERT INTO t(a, b) SELECT randomblob(256), zeroblob(256) FROM n"
    )
    for _ in 0..<max(1, megabytes) { try insert.number(256 * 7) }
    try database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
  }

  /// Copies a file as a program would that wants it to be there after a power cut.
  static func copy(_ source: String, to target: String) throws -> Summary {
    let start = Clock.now()
    let input = open(source, O_RDONLY)
    let output = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    defer {
      close(input)
      close(output)
    }
    guard input >= 0, output >= 0 else { throw Failure("cannot copy \(source)") }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var bytes = 0
    while true {
      let count = read(input, &buffer, buffer.count)
      guard count >= 0 else { throw Failure("cannot read \(source)") }
      guard count > 0 else { break }
      guard write(output, buffer, count) == count else { throw Failure("cannot write \(target)") }
      bytes += count
    }
    guard fsync(output) == 0 else { throw Failure("cannot sync \(target)") }
    return Summary(count: bytes, seconds: Double(Clock.now() - start) / 1e9)
  }
}
