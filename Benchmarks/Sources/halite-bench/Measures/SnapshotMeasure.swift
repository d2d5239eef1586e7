import Foundation

/// How long a new node takes to have a database, beside a copy of the file.
///
/// In a cluster of its own, whose log is kept shorter than the database, so that what comes is a
/// snapshot and never the log since the beginning.
struct SnapshotMeasure {
  private static let database = "snapshot.db"

  private let cluster: Cluster
  private let source: String
  private let copy: String
  private let megabytes: Int
  private var size = 0.0
  private var nodes = 1
  private var plain = Spread()
  private var halite = Spread()
  private var sending = (now: Spread(), peak: Spread())
  private var receiving = (now: Spread(), peak: Spread())

  init(cluster: Cluster, plain: String, megabytes: Int) {
    self.cluster = cluster
    source = plain + "/source.db"
    copy = plain + "/copy.db"
    self.megabytes = megabytes
  }

  /// Makes the primary with its database, and the same database on the plain file system.
  mutating func prepare() throws -> Node {
    let primary = try cluster.node(1, data: "max-log-size: 16MiB")
    try primary.start()
    for path in ["\(primary.mount)/\(Self.database)", source] {
      try Child.work(["fill", path, "\(megabytes)"], seconds: 120)
    }
    let attributes = try FileManager.default.attributesOfItem(atPath: source)
    size = Double(attributes[.size] as? Int ?? 0)
    // Nodes cut their logs, and bring their figures up to date, every two seconds.
    try Deadline.wait(seconds: 30, for: "the primary to cut its log") {
      try primary.metric("halite_log_first_index") > 1
    }
    return primary
  }

  mutating func round(primary: Node) throws {
    let copied = try Child.work(["copy", source, copy], seconds: 120, as: Summary.self)
    plain.add(Double(copied.count) / copied.seconds / 1e6)
    try FileManager.default.removeItem(atPath: copy)

    nodes += 1
    let node = try cluster.node(nodes)
    let start = Clock.now()
    try node.start(untilReady: false)
    let outcome = try Following.wait(Self.database, primary, node)
    halite.add(size / (Double(outcome.arrivedAt - start) / 1e9) / 1e6)
    try Deadline.wait(seconds: 10, for: "the new node to say that it got a snapshot") {
      try node.metric("halite_snapshots_total{direction=\"received\"}") > 0
    }
    let (sender, receiver) = (try primary.memory(), try node.memory())
    sending.now.add(sender.now)
    sending.peak.add(sender.peak)
    receiving.now.add(receiver.now)
    receiving.peak.add(receiver.peak)
    try node.stop()
  }

  func add(to table: inout Table, fileSystem: String) {
    let what = Figure.text(size / 1_048_576, decimals: 0) + " MiB"
    table.add(["\(what) to a new node, from its start", halite.text() + " MB/s"])
    table.add(["cp and fsync of it on \(fileSystem)", plain.text() + " MB/s"])
  }

  func addMemory(to table: inout Table) {
    for (label, memory) in [("sent", sending), ("received", receiving)] {
      table.add([
        "node that \(label) the snapshot", memory.now.text() + " MiB", memory.peak.text() + " MiB",
      ])
    }
  }
}
