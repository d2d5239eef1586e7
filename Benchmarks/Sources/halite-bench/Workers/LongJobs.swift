/// Work on whole databases, of which the time is measured.
enum LongJobs {
  /// One transaction that inserts many rows of 100 bytes.
  static func bulk(_ path: String, rows: Int) throws -> Summary {
    let database = try SQLite(path)
    try database.execute("PRAGMA synchronous=NORMAL; DELETE FROM t")
    let insert = try database.prepare("INSERT INTO t(value) VALUES (randomblob(100 + ?1))")
    return try timed(count: rows) {
      try database.execute("BEGIN IMMEDIATE")
      for _ in 0..<rows { try insert.number(0) }
      try database.execute("COMMIT")
    }
  }

  /// Reads every row.
  static func scan(_ path: String) throws -> Summary {
    let database = try SQLite(path)
    let query = try database.prepare("SELECT count(*) FROM t WHERE a = b")
    return try timed(count: 1) { try query.number() }
  }

  static func vacuum(_ path: String) throws -> Summary {
    let database = try SQLite(path)
    return try timed(count: 1) { try database.execute("VACUUM") }
  }

  private static func timed(count: Int, _ body: () throws -> Void) rethrows -> Summary {
    let start = Clock.now()
    try body()
    return Summary(count: count, seconds: Double(Clock.now() - start) / 1e9)
  }
}
