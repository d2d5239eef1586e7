import Foundation

/// What a large database costs a node: scan and VACUUM, memory with replicas, and starts.
struct LargeMeasure {
  private static let database = "large.db"
  private static let touched = "touched.db"
  private static let replicas = 3

  private let cluster: Cluster
  private let plain: String
  private let megabytes: Int
  private let rounds: Int
  private var clean = Spread()
  private var crashed = Spread()
  private var nodes: [Node] = []

  init(cluster: Cluster, plain: String, megabytes: Int, rounds: Int) {
    self.cluster = cluster
    self.plain = plain
    self.megabytes = megabytes
    self.rounds = rounds
  }

  private var size: String { "\(Figure.text(Double(megabytes), decimals: 0)) MiB" }

  /// Makes the database on both sides, measures, and leaves nothing running.
  mutating func perform(
    work table: inout Table,
    starts: inout Table,
    memory: inout Table
  ) throws -> [Picture.Bar] {
    let primary = try cluster.node(1)
    nodes = [primary]
    try primary.start()
    try addReplica(primary)
    for directory in [plain, primary.mount] {
      try Child.work(["fill", "\(directory)/\(Self.database)", "\(megabytes)"], seconds: 600)
    }
    var long = LongMeasure(
      plain: plain,
      mount: primary.mount,
      [LongMeasure.scan(Self.database, size), LongMeasure.vacuum(Self.database, size)]
    )
    for _ in 0..<rounds { try long.round() }
    long.add(to: &table)
    try measureMemory(primary, &memory)
    try measureStarts(primary, &starts)
    try primary.stop()
    return long.bars
  }

  private mutating func addReplica(_ primary: Node) throws {
    let replica = try cluster.node(nodes.count + 1)
    nodes.append(replica)
    try replica.start(untilReady: false)
  }

  private mutating func measureMemory(_ primary: Node, _ table: inout Table) throws {
    while nodes.count <= Self.replicas { try addReplica(primary) }
    for replica in nodes.dropFirst() {
      try Following.wait(Self.database, primary, replica)
    }
    let used = try primary.memory()
    table.add(
      ["primary with \(size) and \(Self.replicas) replicas"]
        + [used.now, used.peak].map { Figure.text($0, decimals: 0) + " MiB" }
    )
    for replica in nodes.dropFirst() { try replica.stop() }
  }

  private mutating func measureStarts(_ primary: Node, _ table: inout Table) throws {
    try Child.work(["create", "\(primary.mount)/\(Self.touched)", "WAL", "0"])
    for _ in 0..<rounds {
      try primary.stop()
      clean.add(try started(primary))
      // Something that the log's tail has to be read for.
      try Child.work(["commits", "\(primary.mount)/\(Self.touched)", "NORMAL", "1"])
      try primary.crash()
      crashed.add(try started(primary))
    }
    table.add(["start with \(size), after a clean stop", clean.text(decimals: 2) + " s"])
    table.add(["start with \(size), after kill -9", crashed.text(decimals: 2) + " s"])
  }

  /// Seconds from the start of the process to readiness.
  private func started(_ node: Node) throws -> Double {
    let start = Clock.now()
    try node.start()
    return Double(Clock.now() - start) / 1e9
  }
}
