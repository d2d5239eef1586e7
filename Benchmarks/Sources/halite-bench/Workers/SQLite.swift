import CSQLite

/// A connection to a database.
final class SQLite {
  private let handle: OpaquePointer

  /// - Parameter busyMilliseconds: how long to wait for the locks of others.
  init(_ path: String, busyMilliseconds: Int32 = 10_000) throws {
    var opened: OpaquePointer?
    let code = sqlite3_open_v2(path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nil)
    guard code == SQLITE_OK, let opened else {
      sqlite3_close(opened)
      throw Failure("cannot open \(path): \(String(cString: sqlite3_errstr(code)))")
    }
    handle = opened
    sqlite3_busy_timeout(handle, busyMilliseconds)
  }

  deinit { sqlite3_close_v2(handle) }

  func execute(_ statements: String) throws {
    try check(sqlite3_exec(handle, statements, nil, nil, nil), statements)
  }

  func prepare(_ text: String) throws -> Statement {
    var prepared: OpaquePointer?
    try check(sqlite3_prepare_v2(handle, text, -1, &prepared, nil), text)
    guard let prepared else { throw Failure("\(text) is not a statement") }
    return Statement(prepared, of: self)
  }

  /// The number that a query yields, 0 when it yields none.
  func number(_ query: String) throws -> Int64 { try prepare(query).number() }

  fileprivate func check(_ code: Int32, _ text: String) throws {
    guard code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE else {
      throw Failure("\(text): \(String(cString: sqlite3_errmsg(handle)))")
    }
  }

  /// A prepared statement with at most one integer to bind.
  final class Statement {
    private let handle: OpaquePointer
    private let connection: SQLite

    fileprivate init(_ handle: OpaquePointer, of connection: SQLite) {
      self.handle = handle
      self.connection = connection
    }

    deinit { sqlite3_finalize(handle) }

    /// Runs to the end of the first row; the first column as a number.
    @discardableResult
    func number(_ argument: Int64? = nil) throws -> Int64 {
      if let argument { sqlite3_bind_int64(handle, 1, argument) }
      let code = sqlite3_step(handle)
      let value = code == SQLITE_ROW ? sqlite3_column_int64(handle, 0) : 0
      // Of `step` and `reset` either may say what went wrong; `reset` ends the transaction.
      let reset = sqlite3_reset(handle)
      try connection.check(code, "step")
      try connection.check(reset, "reset")
      return value
    }
  }
}
