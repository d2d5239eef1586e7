@testable import Store

/// Random transactions on one database, from a seed.
struct Workload {
  enum Style: String, CaseIterable, Sendable {
    case small, spill, savepoints, vacuum, fullVacuum, incrementalVacuum, drops, growth, mixed
  }

  var random: SeededRandom
  let style: Style
  /// Whether a transaction can be undone (not with journal_mode OFF).
  let rollback: Bool
  private var tables = 0
  private var live: [Int] = []

  init(seed: UInt64, style: Style, rollback: Bool) {
    random = SeededRandom(seed)
    self.style = style
    self.rollback = rollback
  }

  /// Before the first table, while the database is empty.
  var preparation: String {
    switch style {
    case .fullVacuum: "PRAGMA auto_vacuum=FULL;"
    case .incrementalVacuum: "PRAGMA auto_vacuum=INCREMENTAL;"
    default: ""
    }
  }

  /// What to run next, one or more whole transactions.
  mutating func next() -> String {
    if live.isEmpty { return create() }
    let kinds: [Style] = [.small, .small, .spill, .savepoints, .drops, .growth, .vacuum]
    let kind = style == .mixed ? kinds[random.below(kinds.count)] : style
    switch kind {
    case .small, .mixed: return statement()
    case .spill:
      return "PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN; " + fill(40 + random.below(60))
        + statements(4) + end + "; PRAGMA cache_size=100"
    case .savepoints: return savepoints()
    case .vacuum, .fullVacuum, .incrementalVacuum: return vacuum(kind)
    case .drops: return drops()
    case .growth:
      return random.below(3) == 0
        ? "DELETE FROM t\(table) WHERE id % 3 <> 0" : "BEGIN; " + fill(random.below(60)) + end
    }
  }

  private var table: Int { live[(tables &* 7 &+ live.count) % live.count] }

  private mutating func create() -> String {
    tables += 1
    live.append(tables)
    return "CREATE TABLE t\(tables)(id INTEGER PRIMARY KEY, a, b); "
      + (random.below(2) == 0 ? "CREATE INDEX i\(tables) ON t\(tables)(a); " : "")
  }

  private var end: String {
    mutating get { rollback && random.below(4) == 0 ? "ROLLBACK" : "COMMIT" }
  }

  private mutating func statement() -> String {
    let table = live[random.below(live.count)]
    let blob = "x'\(hex(random.below(60)))'"
    switch random.below(7) {
    case 0, 1, 2:
      return "INSERT INTO t\(table)(a, b) VALUES (\(random.below(1000)), \(blob)); "
    case 3: return "INSERT INTO t\(table)(a, b) VALUES (1, zeroblob(\(random.below(9000)))); "
    case 4: return "UPDATE t\(table) SET b = \(blob) WHERE id % 7 = \(random.below(7)); "
    case 5: return "DELETE FROM t\(table) WHERE id % 11 = \(random.below(11)); "
    default: return "UPDATE t\(table) SET a = a + 1 WHERE id = \(random.below(50)); "
    }
  }

  private mutating func statements(_ most: Int) -> String {
    (0...random.below(most)).map { _ in statement() }.joined()
  }

  private mutating func fill(_ rows: Int) -> String {
    let table = live[random.below(live.count)]
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows)) "
      + "INSERT INTO t\(table)(a, b) SELECT i * \(1 + random.below(50)), "
      + "hex(zeroblob(\(random.below(700)))) || i FROM n; "
  }

  /// Rows for a table that is there.
  mutating func filler(_ table: String, _ rows: Int) -> String {
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows)) "
      + "INSERT INTO \(table)(a, b) SELECT i, hex(zeroblob(\(random.below(900)))) FROM n; "
  }

  private mutating func savepoints() -> String {
    var sql = "PRAGMA cache_size=\(2 + random.below(4)); BEGIN; " + statements(3)
    var open = 0
    for _ in 0..<(2 + random.below(5)) {
      switch random.below(3) {
      case 0:
        open += 1
        sql += "SAVEPOINT s\(open); " + fill(random.below(25)) + statements(2)
      case 1 where open > 0 && rollback: sql += "ROLLBACK TO s\(open); " + statements(2)
      case 2 where open > 0:
        sql += "RELEASE s\(open); "
        open -= 1
      default: sql += statements(2)
      }
    }
    return sql + end + "; PRAGMA cache_size=100"
  }

  private mutating func vacuum(_ kind: Style) -> String {
    switch random.below(4) {
    case 0: return kind == .incrementalVacuum ? "PRAGMA incremental_vacuum(3)" : "VACUUM"
    case 1: return "DELETE FROM t\(live[random.below(live.count)]) WHERE id % 2 = 0"
    case 2: return "BEGIN; " + fill(random.below(50)) + end
    default: return statement()
    }
  }

  private mutating func drops() -> String {
    switch random.below(5) {
    case 0 where live.count > 1:
      let gone = live.remove(at: random.below(live.count))
      // Its pages go to the freelist and come back in the same or a later transaction.
      return random.below(2) == 0
        ? "DROP TABLE t\(gone)" : "BEGIN; DROP TABLE t\(gone); " + fill(random.below(40)) + "COMMIT"
    case 1: return create()
    default: return "BEGIN; " + fill(random.below(40)) + statements(3) + end
    }
  }

  private mutating func hex(_ count: Int) -> String {
    random.bytes(count).map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }.joined()
  }
}
