/// The loops of which the rate and the latencies are measured.
enum Loops {
  /// One-row transactions, one after the other.
  static func commits(_ path: String, setting: String, seconds: Double) throws -> Summary {
    let database = try SQLite(path)
    try database.execute("PRAGMA synchronous=\(setting)")
    let insert = try database.prepare("INSERT INTO t(value) VALUES (randomblob(100 + ?1))")
    try insert.number(0)
    return try measure(seconds: seconds) { try insert.number(0) }
  }

  /// Rows by their key, each a read transaction of its own.
  static func selects(_ path: String, seconds: Double) throws -> Summary {
    let database = try SQLite(path)
    let rows = try database.number("SELECT count(*) FROM t")
    guard rows > 0 else { throw Failure("\(path) is empty") }
    let select = try database.prepare("SELECT length(value) FROM t WHERE id = ?1")
    var keys = Keys(upTo: rows)
    return try measure(seconds: seconds) { try select.number(keys.next()) }
  }

  /// Nine reads by key to one transaction that changes a row, one after the other.
  static func mixed(_ path: String, seconds: Double) throws -> Summary {
    let database = try SQLite(path)
    try database.execute("PRAGMA synchronous=NORMAL")
    let rows = try database.number("SELECT count(*) FROM t")
    guard rows > 0 else { throw Failure("\(path) is empty") }
    let select = try database.prepare("SELECT length(value) FROM t WHERE id = ?1")
    let update = try database.prepare("UPDATE t SET value = randomblob(100) WHERE id = ?1")
    var keys = Keys(upTo: rows)
    var turn = 0
    return try measure(seconds: seconds) {
      turn += 1
      try (turn % 10 == 0 ? update : select).number(keys.next())
    }
  }

  private static func measure(seconds: Double, _ body: () throws -> Void) rethrows -> Summary {
    var samples = Samples()
    let start = Clock.now()
    let end = start + Int64(seconds * 1e9)
    var last = start
    while last < end {
      try body()
      let now = Clock.now()
      samples.add(now - last)
      last = now
    }
    return samples.summary(seconds: Double(last - start) / 1e9)
  }
}

/// The same walk over the keys 1 to `count` on both sides, from a fixed seed.
private struct Keys {
  private let count: Int64
  private var state: UInt64 = 0x9E37_79B9_7F4A_7C15

  init(upTo count: Int64) { self.count = count }

  mutating func next() -> Int64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int64(state >> 33) % count + 1
  }
}
