import Foundation

/// How far a replica is behind, and how fast it catches up.
struct ReplicationMeasure {
  /// 200 commits a second: an application at work, not a queue that builds up.
  private static let pacedNanoseconds = 5_000_000
  private static let pacedSamples = 1000
  private static let database = "lag.db"
  /// What the replica misses while it is down, to be caught up with.
  private static let missedDatabase = "missed.db"

  private let primary: Node
  private let replica: Node
  private let seconds: Double
  private var paced = LoopSpread()
  private var unpaced = LoopSpread()
  private var applied = Spread()

  init(primary: Node, replica: Node, seconds: Double) {
    self.primary = primary
    self.replica = replica
    self.seconds = seconds
  }

  func prepare() throws {
    for database in [Self.database, Self.missedDatabase] {
      try Child.work(["create", "\(primary.mount)/\(database)", "WAL", "0"])
    }
  }

  mutating func round() throws {
    try settle(Self.database)
    paced.add(try lag(samples: Self.pacedSamples, nanosecondsApart: Self.pacedNanoseconds))
    let rate = max(1000, unpaced.rate.median)
    unpaced.add(try lag(samples: Int(rate * seconds), nanosecondsApart: 0))
    try measureApplying()
  }

  func add(to table: inout Table) {
    let milliseconds = { (spread: Spread) in spread.text(decimals: 2, unit: 1e6) + " ms" }
    for (label, lag) in [("paced", paced), ("without pause", unpaced)] {
      let rate = Figure.text(lag.rate.median, decimals: 0)
      table.add(["lag, \(rate) commits/s \(label): p50", milliseconds(lag.p50)])
      table.add(["lag, \(rate) commits/s \(label): p99", milliseconds(lag.p99)])
    }
    table.add(["replica catching up", applied.text() + " transactions/s"])
  }

  private func lag(samples: Int, nanosecondsApart: Int) throws -> Summary {
    try Child.work(
      [
        "lag", "\(primary.mount)/\(Self.database)", "\(replica.mount)/\(Self.database)",
        "\(samples)", "\(nanosecondsApart)",
      ],
      seconds: Double(samples * nanosecondsApart) / 1e9 + 60,
      as: Summary.self
    )
  }

  /// Lets a replica miss as many transactions as fit into the time, and clocks how it gets them.
  private mutating func measureApplying() throws {
    try settle(Self.missedDatabase)
    try replica.stop()
    let path = "\(primary.mount)/\(Self.missedDatabase)"
    try Child.work(["commits", path, "NORMAL", "\(seconds)"], seconds: seconds + 30)
    try replica.start(untilReady: false)
    let outcome = try settle(Self.missedDatabase)
    if let rate = outcome.rate { applied.add(rate) }
    try replica.waitUntilReady()
  }

  @discardableResult
  private func settle(_ database: String) throws -> Following.Outcome {
    try Following.wait(database, primary, replica)
  }
}
