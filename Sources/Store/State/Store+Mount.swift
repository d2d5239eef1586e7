import Glibc
import LTX
import Synchronization

extension Store: MountBackend {
  package var tree: String { context.tree }

  package func open(
    _ name: FileName,
    _ options: MountOpenOptions
  ) throws(StoreError) -> MountedFile {
    if let failed = database(name.database)?.published.failed { throw failed }
    let writes = !options.isDisjoint(with: [.write, .truncate])
    if writes { try admitWrite(name, options) }
    var flags: DiskOpenOptions = []
    if options.contains(.write) { flags.insert(.write) }
    if options.contains(.create) { flags.insert(.create) }
    if options.contains(.exclusive) { flags.insert(.exclusive) }
    if options.contains(.truncate) { flags.insert(.truncate) }
    if name.role == .journal { return try openJournal(name, flags) }
    let file = try context.disk.open(context.tree + "/" + name.path, flags)
    switch name.role {
    case .wal, .journal:
      if writes { _ = makeDatabase(name.database) }
      let io: MountedFile.IO = follows(name, options) ? .followed : .daemon
      return MountedFile(name: name, file: file, io: io)
    case .main:
      if writes, mayCreate, database(name.path) == nil, !name.isSuperJournal,
        try file.mayBecomeDatabase()
      {
        _ = makeDatabase(name.path)
      }
      let writer = writes ? database(name.path)?.writers.enter(file) : nil
      return MountedFile(name: name, file: file, io: .direct, writer: writer)
    case .sharedMemory:
      return MountedFile(name: name, file: file, io: .direct)
    }
  }

  /// Whether a file can become a database by what clients of this node write.
  private var mayCreate: Bool {
    role == .primary || configuration.forwards && state.withLock { $0.engine } != nil
  }

  /// On a node that is not the primary, databases are read-only; other files are its own.
  private func admitWrite(_ name: FileName, _ options: MountOpenOptions) throws(StoreError) {
    guard !isWriter(of: name.database) else { return }
    switch name.role {
    case .main, .wal:
      // For when this node is the primary; what a writer needs besides is refused.
      if configuration.changesRoles, !options.contains(.truncate) { return }
      if isReplicated(name.database) { throw readOnly(name.database) }
    case .journal:
      // SQLite opens a database and creates its journal only at the first write. This errno makes it
      // report a read-only database; any other would read as an I/O error.
      let main = try context.disk.information(context.tree + "/" + name.database)
      if isReplicated(name.database) || main?.size == 0 {
        throw StoreError(.system(EACCES), readOnly(name.database).message)
      }
    case .sharedMemory:
      // Readers of a write-ahead log write their marks here.
      break
    }
  }

  /// SQLite looks for a journal and a write-ahead log in every transaction. On the primary clients alone
  /// create them; a replica's applying makes logs.
  package func absence(of name: FileName) -> Double {
    role == .primary && (name.role == .journal || name.role == .wal) ? 1 : 0
  }

  /// On the primary the node itself changes databases in WAL mode (checkpoints), and others only to import
  /// one, which then takes as long as this before anybody may look.
  package func stability(of name: FileName) -> Double {
    guard role == .primary else { return 0 }
    switch name.role {
    case .journal: return Self.stableTime
    case .main:
      guard let database = database(name.path) else { return Self.stableTime }
      // Soon the node itself may change it again, for a replica.
      return database.published.isWAL || wasLent(database) ? 0 : Self.stableTime
    case .wal, .sharedMemory: return 0
    }
  }

  /// In seconds: the transactions that follow each other at once are to gain by it. The kernel counts in
  /// ticks of up to 10 ms.
  private static let stableTime = 0.005
  /// How long what was said of a file before may be believed, in microseconds.
  static let longestBelief: UInt32 = 30_000

  /// Whether the file is a database that the log speaks of.
  func isReplicated(_ name: String) -> Bool {
    guard let published = database(name)?.published else { return false }
    return published.position.txid > .zero
  }

  func readOnly(_ name: String) -> StoreError {
    StoreError(
      .readOnly,
      "database \(name) cannot be written on this node: it is not the primary; write on the node "
        + "that the file .primary names"
    )
  }

  func lentAway(_ name: String) -> StoreError {
    StoreError(.busy, "clients of a replica are writing database \(name); try again in a moment")
  }

  package func write(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    switch file.name.role {
    case .wal: writeWAL(file, at: offset, bytes, done: done)
    case .journal: writeJournal(file, at: offset, bytes, done: done)
    case .main, .sharedMemory:
      done(StoreError.catching { () throws(StoreError) in try file.file.write(bytes, at: offset) })
    }
  }

  package func sync(_ file: MountedFile, done: @escaping MountCompletion) {
    switch file.name.role {
    case .wal where isWriter(of: file.name.database):
      syncLog(database(file.name.database), done: done)
    case .main where isRedone(file.name):
      done(nil)
    case .journal, .main:
      workers.promptly { [self] in
        done(
          StoreError.catching { () throws(StoreError) in
            guard let database = database(file.name.database) else { return try file.file.sync() }
            if file.name.role == .journal {
              try database.journal.sync { () throws(StoreError) in try file.file.sync() }
            } else {
              try file.file.sync()
            }
            database.state.withLock { $0.synced = true }
          }
        )
      }
    case .wal, .sharedMemory:
      workers.promptly {
        done(StoreError.catching { () throws(StoreError) in try file.file.sync() })
      }
    }
  }

  /// Whether a sync of the main file can be left out: a transaction whose rollback journal is durable has
  /// the file to itself. Until the journal has ended, a crash undoes the transaction by it; afterwards the log,
  /// durable before, does it again, page by page. Where the log would not have every page that was
  /// written, the end of the journal makes up for the sync (`owesSync`).
  private func isRedone(_ name: FileName) -> Bool {
    guard let database = database(name.path), isWriter(of: database), database.journal.isDurable,
      database.mainLocks.isLocked(LockRange(0, .max), .write)
    else { return false }
    let noted: Void? = database.state.withLockIfAvailable { state in
      state.synced = true
      state.owesSync = true
    }
    return noted != nil
  }

  package func syncDirectory(_ path: String, done: @escaping MountCompletion) {
    let full = path.isEmpty ? context.tree : context.tree + "/" + path
    if context.names.areDurable(in: full) { return done(nil) }
    workers.promptly { [self] in
      done(
        StoreError.catching { () throws(StoreError) in
          try context.names.sync(full) { () throws(StoreError) in
            try context.disk.syncDirectory(full)
          }
        }
      )
    }
  }

  package func locks(of name: FileName) -> FileLocks {
    let locks = context.locks.table(for: name.path)
    guardGrantLock(name, locks)
    return locks
  }
}

extension StoreError {
  /// The error of an operation, or nil.
  static func catching(_ body: () throws(StoreError) -> Void) -> StoreError? {
    do throws(StoreError) {
      try body()
      return nil
    } catch { return error }
  }
}

extension DiskFile {
  /// Whether it is empty, or begins as a database does.
  func mayBecomeDatabase() throws(StoreError) -> Bool {
    let start = try readBytes(DatabaseHeader.magic.count, at: 0)
    return start.isEmpty || start == DatabaseHeader.magic
  }
}
