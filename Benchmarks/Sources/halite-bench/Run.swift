import Foundation

/// One run from an empty directory to the tables.
struct Run {
  private let options: Options
  private let directory: String
  private let cleanup: Cleanup

  private var plain: String { directory + "/plain" }

  init(_ options: Options) {
    self.options = options
    directory = "\(options.directory)/halite-bench-\(getpid())"
    cleanup = Cleanup(directory: directory)
  }

  func perform() throws {
    let signals = cleanup.handleSignals()
    defer {
      signals.forEach { $0.cancel() }
      cleanup.perform()
    }
    try FileManager.default.createDirectory(atPath: plain, withIntermediateDirectories: true)
    let fileSystem = Machine.fileSystem(of: directory)
    let loadBefore = Machine.load
    var memory = Table("Memory of the daemon", ["what", "resident", "peak"])
    var replication = Table("Replication and starts", ["what", "median of the rounds"])
    var long = Table("Longer work", ["what", "\(fileSystem) s", "Halite s", "times \(fileSystem)"])

    let (transactions, work) = try measureCluster(replication: &replication, memory: &memory)
    work.add(to: &long)
    var bars = transactions.bars + work.bars
    try measureSnapshots(replication: &replication, memory: &memory, fileSystem: fileSystem)
    if options.largeMiB > 0 {
      report("a database of \(options.largeMiB) MiB")
      bars += try measureLarge(long: &long, starts: &replication, memory: &memory)
    }

    print(
      """
      \(Machine.description(of: directory)); \(try version()); \(options.rounds) rounds of \
      \(options.seconds) s, median (least–most); load before \(loadBefore), after \(Machine.load)

      """
    )
    for table in [transactions.table(fileSystem: fileSystem), long, replication, memory] {
      print(table.text(isMarkdown: options.isMarkdown))
    }
    if let picture = options.picture {
      let title = "Halite beside \(fileSystem), a replica connected"
      try Picture(title: title, bars: bars).svg.write(
        toFile: picture,
        atomically: true,
        encoding: .utf8
      )
    }
  }

  private func measureLarge(
    long: inout Table,
    starts: inout Table,
    memory: inout Table
  ) throws -> [Picture.Bar] {
    let cluster = try cluster("large")
    var measure = LargeMeasure(
      cluster: cluster,
      plain: plain,
      megabytes: options.largeMiB,
      rounds: options.rounds
    )
    return try measure.perform(work: &long, starts: &starts, memory: &memory)
  }

  private func measureCluster(
    replication table: inout Table,
    memory: inout Table
  ) throws -> (TransactionMeasure, LongMeasure) {
    let cluster = try cluster("pair")
    let (primary, replica) = (try cluster.node(1), try cluster.node(2))
    try primary.start()
    try replica.start()
    var transactions = TransactionMeasure(
      plain: plain,
      primary: primary,
      seconds: options.seconds
    )
    var replication = ReplicationMeasure(
      primary: primary,
      replica: replica,
      seconds: options.seconds
    )
    var long = LongMeasure(
      plain: plain,
      mount: primary.mount,
      (options.speedtest.map { program in
        ["wal", "delete"].map { LongMeasure.speedtest(program, journal: $0) }
      } ?? []) + [LongMeasure.bulk]
    )
    try transactions.prepare()
    try replication.prepare()
    for directory in [plain, primary.mount] {
      try Child.work(["create", "\(directory)/\(LongMeasure.bulkDatabase)", "WAL", "0"])
    }
    for round in 1...options.rounds {
      report("round \(round) of \(options.rounds): transactions")
      try transactions.round()
      report("round \(round) of \(options.rounds): longer work")
      try long.round()
      report("round \(round) of \(options.rounds): replication")
      try replication.round()
    }
    replication.add(to: &table)
    for (label, node) in [("primary", primary), ("replica", replica)] {
      let used = try node.memory()
      memory.add(
        [label] + [used.now, used.peak].map { Figure.text($0, decimals: 0) + " MiB" }
      )
    }
    try replica.stop()
    try primary.stop()
    return (transactions, long)
  }

  private func measureSnapshots(
    replication table: inout Table,
    memory: inout Table,
    fileSystem: String
  ) throws {
    let cluster = try cluster("snapshot")
    var snapshots = SnapshotMeasure(
      cluster: cluster,
      plain: plain,
      megabytes: options.snapshotMiB
    )
    report("making a database of \(options.snapshotMiB) MiB")
    let primary = try snapshots.prepare()
    for round in 1...options.rounds {
      report("round \(round) of \(options.rounds): snapshot")
      try snapshots.round(primary: primary)
    }
    snapshots.add(to: &table, fileSystem: fileSystem)
    snapshots.addMemory(to: &memory)
    try primary.stop()
  }

  private func cluster(_ name: String) throws -> Cluster {
    try Cluster(
      halite: options.halite,
      directory: "\(directory)/\(name)",
      passthrough: options.passthrough,
      cleanup: cleanup
    )
  }

  private func version() throws -> String {
    let output = try Child.run(options.halite, ["version"], seconds: 10)
    let text = String(decoding: output, as: UTF8.self)
    return text.split(separator: "\n").first.map(String.init) ?? "halite"
  }

  private func report(_ text: String) {
    FileHandle.standardError.write(Data("halite-bench: \(text)\n".utf8))
  }
}
