/// Commits and reads, on the plain directory and on the primary's mount with a replica connected.
struct TransactionMeasure {
  private struct Case {
    let label: String
    let database: String
    let journal: String
    /// `PRAGMA synchronous`; nil for reads.
    let synchronous: String?
    var plain = LoopSpread()
    var halite = LoopSpread()

    /// For reads some 12 MiB: more than SQLite's own cache, so that they reach the file system.
    var rows: Int { synchronous == nil ? 100_000 : 0 }
  }

  private let plain: String
  private let primary: Node
  private let seconds: Double
  private var cases = [
    Case(label: "commit WAL/NORMAL", database: "wn.db", journal: "WAL", synchronous: "NORMAL"),
    Case(label: "commit WAL/FULL", database: "wf.db", journal: "WAL", synchronous: "FULL"),
    Case(label: "commit DELETE/OFF", database: "do.db", journal: "DELETE", synchronous: "OFF"),
    Case(label: "commit DELETE/FULL", database: "df.db", journal: "DELETE", synchronous: "FULL"),
    Case(label: "point SELECT, WAL", database: "sw.db", journal: "WAL", synchronous: nil),
    Case(label: "point SELECT, DELETE", database: "sd.db", journal: "DELETE", synchronous: nil),
  ]

  init(plain: String, primary: Node, seconds: Double) {
    self.plain = plain
    self.primary = primary
    self.seconds = seconds
  }

  func prepare() throws {
    for item in cases {
      for directory in [plain, primary.mount] {
        try Child.work(["create", "\(directory)/\(item.database)", item.journal, "\(item.rows)"])
      }
    }
  }

  mutating func round() throws {
    for index in cases.indices {
      cases[index].plain.add(try measure(cases[index], in: plain))
      cases[index].halite.add(try measure(cases[index], in: primary.mount))
    }
  }

  func table(fileSystem: String) -> Table {
    var table = Table(
      "One-row transactions, one connection",
      [
        "what", "\(fileSystem) /s", "p50 / p99 µs", "Halite /s", "p50 / p99 µs",
        "of \(fileSystem)",
      ]
    )
    for item in cases {
      table.add([
        item.label, item.plain.rate.text(), item.plain.microseconds, item.halite.rate.text(),
        item.halite.microseconds,
        Figure.percent(item.halite.rate.median, of: item.plain.rate.median),
      ])
    }
    return table
  }

  private func measure(_ item: Case, in directory: String) throws -> Summary {
    let path = "\(directory)/\(item.database)"
    let job =
      item.synchronous.map { ["commits", path, $0, "\(seconds)"] }
      ?? ["selects", path, "\(seconds)"]
    return try Child.work(job, seconds: seconds + 30, as: Summary.self)
  }
}
