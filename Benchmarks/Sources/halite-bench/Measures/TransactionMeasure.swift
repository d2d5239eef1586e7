/// Commits and reads, on the plain directory and on the primary's mount with a replica connected.
struct TransactionMeasure {
  private struct Case {
    let label: String
    let database: String
    let journal: String
    /// `PRAGMA synchronous`; nil for reads.
    let synchronous: String?
    /// Which loop.
    var job = "selects"
    var plain = LoopSpread()
    var halite = LoopSpread()
    /// Seconds of processor time that the daemon took for a thousand.
    var processor = Spread()

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
    Case(label: "mixed, WAL", database: "mw.db", journal: "WAL", synchronous: nil, job: "mixed"),
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
      let before = try primary.processorTime()
      let summary = try measure(cases[index], in: primary.mount)
      cases[index].halite.add(summary)
      let used = try primary.processorTime() - before
      cases[index].processor.add(used / Double(max(summary.count, 1)) * 1000)
    }
  }

  func table(fileSystem: String) -> Table {
    var table = Table(
      "One-row transactions, one connection",
      [
        "what", "\(fileSystem) /s", "p50 / p99 µs", "Halite /s", "p50 / p99 µs",
        "of \(fileSystem)", "daemon CPU s/1,000",
      ]
    )
    for item in cases {
      table.add([
        item.label, item.plain.rate.text(), item.plain.microseconds, item.halite.rate.text(),
        item.halite.microseconds,
        Figure.percent(item.halite.rate.median, of: item.plain.rate.median),
        Figure.text(item.processor.median, decimals: 3),
      ])
    }
    return table
  }

  /// What the picture shows: rates beside those of the plain file system.
  var bars: [Picture.Bar] {
    cases.map { Picture.Bar(label: $0.label, part: $0.halite.rate.median / $0.plain.rate.median) }
  }

  private func measure(_ item: Case, in directory: String) throws -> Summary {
    let path = "\(directory)/\(item.database)"
    let job =
      item.synchronous.map { ["commits", path, $0, "\(seconds)"] }
      ?? [item.job, path, "\(seconds)"]
    return try Child.work(job, seconds: seconds + 30, as: Summary.self)
  }
}
