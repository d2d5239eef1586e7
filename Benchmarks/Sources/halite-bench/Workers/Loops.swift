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
    // The same walk over the keys on both sides, from a fixed seed.
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    return try measure(seconds: seconds) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      try select.number(Int64(state >> 33) % rows + 1)
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
