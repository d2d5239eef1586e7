import Foundation

/// Work of which the time counts, first on the plain directory, then on the primary's mount.
struct LongMeasure {
  struct Case {
    let label: String
    /// Works in a directory; seconds.
    let run: (String) throws -> Double
    var plain = Spread()
    var halite = Spread()

    init(_ label: String, _ run: @escaping (String) throws -> Double) {
      self.label = label
      self.run = run
    }
  }

  static let bulkRows = 200_000
  static let bulkDatabase = "bulk.db"

  private let plain: String
  private let mount: String
  private var cases: [Case]

  init(plain: String, mount: String, _ cases: [Case]) {
    self.plain = plain
    self.mount = mount
    self.cases = cases
  }

  mutating func round() throws {
    for index in cases.indices {
      cases[index].plain.add(try cases[index].run(plain))
      cases[index].halite.add(try cases[index].run(mount))
    }
  }

  func add(to table: inout Table) {
    for item in cases {
      table.add([
        item.label, item.plain.text(decimals: 2), item.halite.text(decimals: 2),
        Figure.text(item.halite.median / max(item.plain.median, 1e-9), decimals: 2),
      ])
    }
  }

  /// What the picture shows: speed beside that of the plain file system.
  var bars: [Picture.Bar] {
    cases.map { Picture.Bar(label: $0.label, part: $0.plain.median / max($0.halite.median, 1e-9)) }
  }

  // MARK: Cases

  /// SQLite's own benchmark.
  ///
  /// - Parameter program: `speedtest1`, as built from SQLite's sources.
  static func speedtest(_ program: String, journal: String) -> Case {
    Case("speedtest1 --size 15, \(journal.uppercased())") { directory in
      let path = "\(directory)/speed-\(journal).db"
      let start = Clock.now()
      try Child.run(program, ["--size", "15", "--journal", journal, path], seconds: 120)
      let seconds = Double(Clock.now() - start) / 1e9
      let files = ["", "-wal", "-shm", "-journal"].map { path + $0 }
      // By a child, since this process never touches a mount.
      try Child.run("/bin/rm", ["-f"] + files, seconds: 30)
      return seconds
    }
  }

  static var bulk: Case {
    Case("one transaction of \(Figure.text(Double(bulkRows), decimals: 0)) rows, WAL") {
      try seconds(["bulk", "\($0)/\(bulkDatabase)", "\(bulkRows)"])
    }
  }

  static func scan(_ database: String, _ size: String) -> Case {
    Case("full scan of \(size)") { try seconds(["scan", "\($0)/\(database)"]) }
  }

  static func vacuum(_ database: String, _ size: String) -> Case {
    Case("VACUUM of \(size), WAL") { try seconds(["vacuum", "\($0)/\(database)"]) }
  }

  private static func seconds(_ job: [String]) throws -> Double {
    try Child.work(job, seconds: 300, as: Summary.self).seconds
  }
}
