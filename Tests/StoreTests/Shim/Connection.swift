import CSQLite
import Foundation

/// A connection to a database through SQLite's C interface.
final class Connection {
  struct Failure: Error, CustomStringConvertible {
    var code: Int32
    var message: String
    var sql: String
    var description: String { "SQLite error \(code): \(message) in: \(sql.prefix(200))" }
  }

  private var handle: OpaquePointer?
  private let vfs: ShimVFS?

  init(_ path: String, vfs: ShimVFS? = nil, readOnly: Bool = false) throws {
    self.vfs = vfs
    let flags = readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
    let code = sqlite3_open_v2(path, &handle, flags, vfs?.name)
    guard code == SQLITE_OK else {
      defer { sqlite3_close_v2(handle) }
      throw Failure(code: code, message: String(cString: sqlite3_errmsg(handle)), sql: "open")
    }
    sqlite3_extended_result_codes(handle, 1)
    sqlite3_busy_timeout(handle, 10_000)
  }

  deinit { close() }

  func close() {
    if handle != nil { sqlite3_close_v2(handle) }
    handle = nil
  }

  func busyTimeout(_ milliseconds: Int32) { sqlite3_busy_timeout(handle, milliseconds) }

  /// Runs statements; their rows, columns as text.
  @discardableResult
  func run(_ sql: String) throws -> [[String]] {
    var rows: [[String]] = []
    let code = withUnsafeMutablePointer(to: &rows) { rows in
      sqlite3_exec(
        handle,
        sql,
        { rows, count, values, _ in
          var row: [String] = []
          for column in 0..<Int(count) {
            row.append(values?[column].map { String(cString: $0) } ?? "NULL")
          }
          rows?.assumingMemoryBound(to: [[String]].self).pointee.append(row)
          return 0
        },
        rows,
        nil
      )
    }
    guard code == SQLITE_OK else {
      throw Failure(code: code, message: String(cString: sqlite3_errmsg(handle)), sql: sql)
    }
    return rows
  }

  /// The first column of the first row.
  func value(_ sql: String) throws -> String {
    try run(sql).first?.first ?? ""
  }

  func number(_ sql: String) throws -> Int { Int(try value(sql)) ?? -1 }

  /// Not in a transaction.
  var isAutocommit: Bool { sqlite3_get_autocommit(handle) != 0 }
}
