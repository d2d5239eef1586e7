import LTX
package import Logging
import Synchronization

extension Store {
  /// Opens the store of a data directory, or begins one there, and recovers whatever a crash left.
  ///
  /// - Parameters:
  ///   - random: 32 bits that differ from call to call.
  ///   - node: this node in the header of LTX files; zero for none.
  package static func open(
    _ configuration: StoreConfiguration,
    disk: any Disk,
    clock: any WallClock,
    random: @escaping @Sendable () -> UInt32,
    node: UInt64,
    logger: Logger
  ) throws(StoreError) -> Store {
    let health = DiskHealth()
    let names = DirectoryNames()
    let disk = WatchedDisk(disk: disk, health: health, names: names) { error in
      logger.error(
        "the disk fails; the node goes on as far as it can and tries again",
        metadata: ["error": "\(error)"]
      )
    }
    for directory in [
      configuration.tree, configuration.stateDirectory, configuration.stagingDirectory,
    ] { try disk.makeDirectory(directory) }
    guard let identity = try disk.information(configuration.directory) else {
      throw StoreError(.notFound, "the data directory \(configuration.directory) cannot be found")
    }
    let log = try Log.open(
      directory: configuration.logDirectory,
      disk: disk,
      clock: clock,
      segmentBytes: configuration.segmentBytes
    )
    log.state.withLock { $0.outcomeSeconds = configuration.outcomeSeconds }
    let context = StoreContext(
      configuration: configuration,
      disk: disk,
      health: health,
      clock: clock,
      random: random,
      node: node,
      log: log,
      names: names,
      logger: logger
    )
    var nextKey: UInt64 = 1
    let (known, damaged) = try load(context)
    for database in known.values { nextKey = max(nextKey, database.key + 1) }
    for name in damaged {
      logger.error(
        "the record of a database is damaged; it is read anew",
        metadata: ["file": "\(name)"]
      )
    }
    var recovery = Recovery(
      context: context,
      databases: known,
      repairs: try RepairList.load(context),
      isSameBoot: try isSameBoot(configuration, context)
    ) { name in
      defer { nextKey += 1 }
      return Database(key: nextKey, name: name, context: context)
    }
    let databases = try recovery.run(from: try RedoPoint.load(context).redo)
    try noteBoot(configuration, context)
    let store = Store(
      configuration: configuration,
      context: context,
      identity: identity,
      state: State(databases: databases, nextKey: nextKey)
    )
    for database in databases.values { store.watch(database) }
    return store
  }

  /// The databases that `state/` describes, and the files there that are no records.
  private static func load(
    _ context: StoreContext
  ) throws(StoreError) -> (known: [String: Database], damaged: [String]) {
    var known: [String: Database] = [:]
    var damaged: [String] = []
    for file in try context.disk.list(context.stateDirectory) where file.hasSuffix(".db") {
      let path = context.stateDirectory + "/" + file
      guard
        let bytes = try context.disk.contents(path, limit: 16 << 10),
        let record = DatabaseRecord(bytes), let size = PageSize(bytes: Int(record.pageSize))
      else {
        damaged.append(file)
        continue
      }
      let sums = try readChecksums(context, record, size)
      var state = DatabaseState()
      state.pageSize = size
      state.checksums = PageChecksums(pageSize: size, values: sums)
      state.position = record.position
      state.entry = record.entry
      state.stable = record.stable
      state.backfilled = record.stable
      known[record.name] = Database(
        key: record.key,
        name: record.name,
        context: context,
        state: state
      )
    }
    return (known, damaged)
  }

  /// No more pages than the checksums' file or the database has room for, whatever the record says:
  /// where both are shorter, redo, which sets the size anew with every transaction, is to begin behind.
  private static func readChecksums(
    _ context: StoreContext,
    _ record: DatabaseRecord,
    _ pageSize: PageSize
  ) throws(StoreError) -> [UInt64] {
    let path = DatabaseRecord.checksumPath(context.stateDirectory, record.key)
    let file = try context.disk.openIfPresent(path)
    let main = try context.disk.information(context.tree + "/" + record.name)
    let room = max(
      (try file?.information().size ?? 0) / 8,
      (main?.size ?? 0) / Int64(pageSize.bytes)
    )
    var values = [UInt64](repeating: 0, count: Int(min(Int64(record.pages), room)))
    guard let file else { return values }
    let step = 1 << 16
    var first = 0
    while first < values.count {
      let bytes = try file.readBytes(8 * min(step, values.count - first), at: Int64(8 * first))
      guard !bytes.isEmpty else { break }
      bytes.withUnsafeBytes { raw in
        for k in 0..<(raw.count / 8) { values[first + k] = raw.bigEndian(UInt64.self, at: 8 * k) }
      }
      first += bytes.count / 8
      if bytes.count < 8 { break }
    }
    return values
  }
}
