import LTX
import Logging
import Synchronization

// What happens between a crash and the first request.
//
// The log decides. Every database's main file is brought to the state after its last entry in the log:
//
// 0. A file that a program still has open through a mount that is gone is replaced by a copy: with
//    passthrough that program goes on reading and even writing it, whatever became of the daemon.
// 1. A hot rollback journal is played back: it restores what an unfinished transaction had written.
// 2. Every transaction behind the point up to which the database was stable is written into the
//    main file, again where it was there already. A page that such a transaction touched is thereby
//    right whatever the crash left of it; a page that none touched was stable.
// 3. Write-ahead log, wal-index and journal are removed: whatever they held is in the main file, or was
//    never in the log and so never acknowledged as durable. Only a write-ahead log that a client wrote by
//    itself may stay for a moment, see Recovery+Logs.swift.
//
// Being a function of log and stable state alone, it can itself be interrupted anywhere.

/// Brings the databases of a store to the state its log describes.
struct Recovery {
  let context: StoreContext
  /// Makes a database that the log speaks of and the state directory does not know.
  let make: (String) -> Database
  /// Databases that wait for pages from the primary: the log does not lead to their state.
  let repairs: Set<String>
  /// Whether the files are as the node left them, see `Database.findLogTail`.
  let isSameBoot: Bool
  /// All databases, by key.
  var databases: [UInt64: Database]
  /// Drops and renames behind the start, in order, by the name that was taken away.
  var changes: [String: [NameChange]] = [:]
  /// Who had a name, and until when.
  var holders: [NameSpan: Database] = [:]
  /// Databases that have no record, so that everything of them is in the log behind the start.
  var unrecorded: Set<UInt64> = []
  /// Databases that should have content and whose file is not there.
  var missing: Set<UInt64> = []
  private var touched: Set<UInt64> = []
  /// Databases of which the log holds something that cannot be read.
  private var broken: Set<UInt64> = []
  /// Super-journals that hot journals have named, by path.
  private var superJournals: Set<String> = []
  /// Databases with a transaction that the crash interrupted.
  private var interrupted: Set<UInt64> = []

  init(
    context: StoreContext,
    databases: [String: Database],
    repairs: Set<String>,
    isSameBoot: Bool = false,
    make: @escaping (String) -> Database
  ) {
    self.context = context
    self.repairs = repairs
    self.isSameBoot = isSameBoot
    self.databases = Dictionary(
      databases.values.map { ($0.key, $0) },
      uniquingKeysWith: { a, _ in a }
    )
    self.make = make
  }

  /// - Parameter start: nothing up to this entry needs to be redone.
  /// - Returns: the databases there are afterwards, by name.
  mutating func run(from start: LogIndex) throws(StoreError) -> [String: Database] {
    if try context.disk.information(detached) != nil { try context.disk.remove(detached) }
    for database in databases.values {
      try detach(database)
      try playBack(database)
    }
    let last = context.log.last.index
    let first = context.log.summary().first
    let after = max(start, LogIndex(first.rawValue &- 1))
    try findNames(after, last)
    if after < last {
      var failure: StoreError?
      do throws(StoreError) {
        try context.log.forEach(after: after, through: last) { (entry) throws(StoreError) in
          try redo(entry)
        }
      } catch { failure = error }
      if let failure { throw failure }
    }
    for database in databases.values { try finish(database, last) }
    // Their journals have been played back.
    for path in superJournals { try context.disk.remove(path) }
    return Dictionary(databases.values.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
  }

  private mutating func redo(_ entry: LogEntry) throws(StoreError) {
    switch entry.kind {
    case .noOperation, .stage: return
    case .transaction, .stagedTransaction: try redoTransaction(entry)
    case .drop: try redoDrop(entry)
    case .rename: try redoRename(entry)
    }
  }

  private mutating func redoTransaction(_ entry: LogEntry) throws(StoreError) {
    let span = span(of: entry.database, at: entry.id.index)
    let database: Database
    if let holder = holders[span] {
      database = holder
    } else {
      // Of a database that has since been dropped nothing needs to be done again.
      guard let name = finalName(span), !repairs.contains(name) else { return }
      database = make(name)
      databases[database.key] = database
      unrecorded.insert(database.key)
      holders[span] = database
      if let slash = database.path().lastIndex(of: "/") {
        try context.disk.makeDirectory(String(database.path()[..<slash]))
      }
      try detach(database)
      _ = try context.disk.open(database.path(), [.write, .create])
    }
    // Without the pages it had, the ones in the log alone would not make it.
    guard !missing.contains(database.key), !broken.contains(database.key),
      !repairs.contains(database.name),
      database.state.withLock({ $0.stable }) < entry.id.index
    else { return }
    touched.insert(database.key)
    do throws(StoreError) {
      try database.state.withLock { state throws(StoreError) in
        try write(entry, to: database, &state)
      }
    } catch {
      // One database whose transaction cannot be read must not keep the node from starting.
      guard error.code == .corrupt else { throw error }
      broken.insert(database.key)
      context.logger.error(
        "a transaction in the log cannot be read; its database needs its pages from elsewhere",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
    }
  }

  private mutating func redoDrop(_ entry: LogEntry) throws(StoreError) {
    let span = span(of: entry.database, at: LogIndex(entry.id.index.rawValue - 1))
    let database = holders[span]
    if let database {
      databases[database.key] = nil
      // First what is remembered of it, as in `Store.erase`.
      try removeRecord(database)
    }
    // The file may be that of another one, which came to the name later and has a record; or an
    // ordinary one.
    let file = try context.disk.openIfPresent(context.tree + "/" + entry.database)
    if !databases.values.contains(where: { $0.name == entry.database }),
      try file?.mayBecomeDatabase() != false
    {
      try removeFiles(entry.database)
    }
  }

  private mutating func redoRename(_ entry: LogEntry) throws(StoreError) {
    let target = String(decoding: entry.payload, as: UTF8.self)
    let span = span(of: entry.database, at: LogIndex(entry.id.index.rawValue - 1))
    guard let database = holders[span] else { return }
    holders[self.span(of: target, at: entry.id.index)] = database
    let source = context.tree + "/" + entry.database
    if unrecorded.contains(database.key) {
      // It is being made anew under the name it has in the end.
      if !databases.values.contains(where: { $0.name == entry.database }),
        try context.disk.information(source) != nil
      {
        try removeFiles(entry.database)
      }
      return
    }
    guard database.state.withLock({ $0.entry }) < entry.id.index else { return }
    if try context.disk.information(source) != nil {
      try context.disk.rename(source, to: context.tree + "/" + target)
    }
    try removeFiles(entry.database)
    database.rename(to: target)
    // With its new name it must not be taken for one that had that name before this entry.
    database.state.withLock { $0.entry = entry.id.index }
    touched.insert(database.key)
  }

  /// Writes a transaction's pages without asking what the file held before.
  private func write(
    _ entry: LogEntry,
    to database: Database,
    _ state: inout DatabaseState
  ) throws(StoreError) {
    var decoder = try TransactionPlan.decoder(entry, log: context.log)
    let header = decoder.header
    let main = try context.disk.open(database.path(), [.write, .create])
    if Int(header.commit) > state.checksums?.count ?? 0 {
      // Memory is taken for a size only once the file that claims it is known to be whole.
      var whole = try TransactionPlan.decoder(entry, log: context.log)
      try TransactionPlan.forEach(&whole, entry.database) { (_, _) throws(StoreError) in }
    }
    if state.pageSize != header.pageSize || state.checksums == nil {
      state.checksums = PageChecksums(pageSize: header.pageSize)
      state.pageSize = header.pageSize
    }
    state.checksums?.resize(to: Int(header.commit))
    try TransactionPlan.forEach(&decoder, entry.database) { (digest, bytes) throws(StoreError) in
      try main.write(bytes, at: digest.number.offset(header.pageSize))
      state.checksums?.set(digest.number, digest.checksum)
    }
    let size = Int64(header.commit) * Int64(header.pageSize.bytes)
    if try main.information().size != size { try main.truncate(to: size) }
    let checksum = decoder.trailer?.postApply ?? .none
    state.position = Position(txid: header.maxTXID, checksum: checksum)
    state.entry = entry.id.index
    state.backfilled = entry.id.index
  }

  /// Where the copy of a file that is detached grows.
  private var detached: String { context.stateDirectory + "/detached.tmp" }

  /// Takes a database's file away from programs that have it open through a mount that is gone.
  private func detach(_ database: Database) throws(StoreError) {
    guard try context.disk.information(database.path()) != nil,
      try context.disk.detachIfOpen(database.path(), through: detached)
    else { return }
    context.logger.notice(
      """
      a program may still have a database open through a mount that is gone; it keeps the old file and \
      must open the database anew
      """,
      metadata: ["database": "\(database.name)"]
    )
  }

  /// Restores what an unfinished rollback-journal transaction had written.
  ///
  /// Leaves of the freelist that it wrote over are in no journal, see `FreelistLeaves`: where one is
  /// found the file is compared with the log in the end.
  private mutating func playBack(_ database: Database) throws(StoreError) {
    let disk = context.disk
    guard try disk.information(database.path()) != nil,
      let file = try disk.openIfPresent(database.path("-journal"))
    else { return }
    if try RollbackJournal(file, unsynced: true) != nil { interrupted.insert(database.key) }
    guard var journal = try RollbackJournal(file) else { return }
    try journal.playBack(into: try disk.open(database.path(), [.write]))
  }

  /// What was committed by removing a super-journal is in the log; one that is still there has no
  /// journals left when all databases are finished.
  private mutating func noteSuperJournal(of file: (any DiskFile)?) throws(StoreError) {
    guard let file, let parent = try RollbackJournal(file)?.superJournal(),
      let path = try context.find(parent), FileName(path).isSuperJournal
    else { return }
    superJournals.insert(path)
  }

  private mutating func finish(_ database: Database, _ last: LogIndex) throws(StoreError) {
    let name = database.name
    // A journal stays, without being hot, until what it could not bring back has been looked at.
    let journal = try context.disk.openForMapping(database.path("-journal"))
    try noteSuperJournal(of: journal)
    if interrupted.contains(database.key), let journal {
      // What was played back must not need the journal any more.
      try context.disk.openIfPresent(database.path())?.sync()
      try journal.writeAll([UInt8](repeating: 0, count: 12), at: 0)
      try journal.sync()
    }
    let main = try context.disk.openIfPresent(database.path())
    try database.state.withLock { state throws(StoreError) in
      if repairs.contains(name) || broken.contains(database.key) {
        try prepare(repairOf: database, main, &state)
      } else if let main {
        try verify(database, main, &state)
        if interrupted.contains(database.key), let size = state.pageSize {
          let found = try checksums(of: main, size, Int(state.pages))
          state.strayed = found.total != state.position.checksum
          if !state.strayed { try database.removeJournal() }
        }
      } else if missing.contains(database.key) {
        state.failed = StoreError(
          .corrupt,
          "the file of database \(name) is gone although nobody dropped it; import the database "
            + "from a backup or a replica"
        )
      }
      state.known = try main?.known()
      state.backfilled = last
      let keepsLog = isSameBoot ? try database.findLogTail(in: &state) : false
      try removeCompanions(name, journal: !interrupted.contains(database.key), log: !keepsLog)
      if !touched.contains(database.key) { state.stable = min(state.stable, last) }
      let header = try main.flatMap { (main) throws(StoreError) in try DatabaseHeader.read(main) }
      database.publish(state, isWAL: header?.readVersion == 2)
    }
    if touched.contains(database.key), !missing.contains(database.key),
      !broken.contains(database.key)
    {
      try database.flush(log: context.log, disk: context.disk, directory: context.stateDirectory)
    }
  }

  /// A database whose pages are to come from the primary: what is known of it must be what the file
  /// has, not what it had when it was last at a position, and nobody may look at it.
  private func prepare(
    repairOf database: Database,
    _ main: (any DiskFile)?,
    _ state: inout DatabaseState
  ) throws(StoreError) {
    state.failed = StoreError(
      .diverged,
      "database \(database.name) waits for its pages from the primary"
    )
    guard let size = state.pageSize else { return }
    state.checksums = PageChecksums(pageSize: size)
    guard let main, try DatabaseHeader.read(main)?.pageSize == size else { return }
    let pages = try main.information().size / Int64(size.bytes)
    state.checksums = try checksums(of: main, size, Int(clamping: pages))
  }

  /// Compares the page checksums with the position they must add up to. Where they do not, the
  /// file's own pages are asked.
  private func verify(
    _ database: Database,
    _ main: any DiskFile,
    _ state: inout DatabaseState
  ) throws(StoreError) {
    guard let size = state.pageSize, let checksums = state.checksums,
      checksums.total != state.position.checksum
    else { return }
    let fresh = try self.checksums(of: main, size, checksums.count)
    if fresh.total != state.position.checksum {
      state.failed = StoreError(
        .corrupt,
        "database \(database.name) does not have the content that its position "
          + "\(state.position) says; restore it from a replica or a backup"
      )
      context.logger.error(
        "a database is damaged",
        metadata: ["database": "\(database.name)"]
      )
    }
    state.checksums = fresh
  }

  /// Reads a whole file for its pages' checksums.
  private func checksums(
    of main: any DiskFile,
    _ size: PageSize,
    _ pages: Int
  ) throws(StoreError) -> PageChecksums {
    var fresh = try main.checksums(size, pages: pages)
    fresh.markAllDirty()
    return fresh
  }

  private func removeCompanions(
    _ name: String,
    journal: Bool = true,
    log: Bool = true
  ) throws(StoreError) {
    for suffix in ["-shm"] + (log ? ["-wal"] : []) + (journal ? ["-journal"] : []) {
      let path = context.tree + "/" + name + suffix
      guard try context.disk.information(path) != nil else { continue }
      // A program that still has it open through a mount that is gone must not believe that it commits.
      if suffix == "-wal" {
        try context.disk.removeStopping(path)
      } else {
        try context.disk.remove(path)
      }
    }
  }

  private func removeFiles(_ name: String) throws(StoreError) {
    let path = context.tree + "/" + name
    if try context.disk.information(path) != nil { try context.disk.remove(path) }
    try removeCompanions(name)
  }

  private func removeRecord(_ database: Database) throws(StoreError) {
    for path in [
      DatabaseRecord.path(context.stateDirectory, database.key),
      DatabaseRecord.checksumPath(context.stateDirectory, database.key),
    ] where try context.disk.information(path) != nil {
      try context.disk.remove(path)
    }
    try context.disk.syncDirectory(context.stateDirectory)
  }
}
