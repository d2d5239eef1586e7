import Dispatch
import LTX
import Logging
import Synchronization

extension Store {
  /// Frames of one transaction above which its commit is worked out on another thread than the
  /// mount's: 64 pages take some 200 µs.
  static let inlineFrames = 64
  /// The same for a rollback journal, in bytes.
  static let inlineJournal: Int64 = 256 << 10

  func writeWAL(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    guard role == .primary else { return done(readOnly(file.name.database)) }
    if let gone = context.health.gone { return done(gone) }
    let database = makeDatabase(file.name.database)
    let inline = database.state.withLockIfAvailable {
      state -> Result<LogIndex?, StoreError>? in
      guard state.wal.pending <= Self.inlineFrames else { return nil }
      return Self.writeWAL(database, file, at: offset, bytes, &state)
    }
    if let result = inline ?? nil {
      finish(database, result, durable: false, done: done)
      return
    }
    let copy = Array(bytes)
    workers.async { [self] in
      let result = copy.withUnsafeBytes { raw in
        database.state.withLock { Self.writeWAL(database, file, at: offset, raw, &$0) }
      }
      finish(database, result, durable: false, done: done)
    }
  }

  private static func writeWAL(
    _ database: Database,
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    _ state: inout DatabaseState
  ) -> Result<LogIndex?, StoreError> {
    do throws(StoreError) {
      return .success(
        try database.writeWAL(file.file, at: offset, bytes, in: &state, database.recorder)
      )
    } catch { return .failure(error) }
  }

  /// Answers an operation that may have committed a transaction.
  private func finish(
    _ database: Database,
    _ result: Result<LogIndex?, StoreError>,
    durable: Bool,
    done: @escaping MountCompletion
  ) {
    switch result {
    case .failure(let error):
      context.logger.error(
        "an operation on a database failed",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
      done(error)
    case .success(let entry):
      guard let entry else { return done(nil) }
      tellCommitted(database)
      if durable {
        log.sync(through: entry, done: done)
      } else {
        done(nil)
      }
    }
  }

  func writeJournal(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    let ends =
      offset == 0 && bytes.count >= RollbackJournal.headerBytes
      && bytes.prefix(RollbackJournal.headerBytes).allSatisfy { $0 == 0 }
    guard ends, role == .primary else {
      return done(
        StoreError.catching { () throws(StoreError) in
          if role == .primary { try admitJournal(file.name, at: offset, bytes.count) }
          try file.file.write(bytes, at: offset)
        }
      )
    }
    let copy = Array(bytes)
    endJournal(file.name, file.file, done: done) { () throws(StoreError) in
      try file.file.writeAll(copy, at: offset)
    }
  }

  /// Ends a rollback journal by `operation`, after capturing the transaction it commits.
  func endJournal(
    _ name: FileName,
    _ file: (any DiskFile)?,
    done: @escaping MountCompletion,
    operation: @escaping @Sendable () throws(StoreError) -> Void
  ) {
    let database = makeDatabase(name.database)
    let path = context.tree + "/" + name.path
    @Sendable func end(_ state: inout DatabaseState) -> Result<LogIndex?, StoreError> {
      do throws(StoreError) {
        var entry: LogIndex?
        if let journal = try openJournal(file, path) {
          entry = try database.captureJournal(journal, in: &state, database.recorder)
        }
        do throws(StoreError) {
          try operation()
        } catch {
          // The journal stays hot. SQLite then rolls back, and the end of that is captured as well:
          // what it brings back differs from the log, and is no damage.
          if entry != nil { state.uncompared = true }
          throw error
        }
        return .success(entry)
      } catch { return .failure(error) }
    }
    let isSmall: Bool
    if let file {
      isSmall = ((try? file.information().size) ?? .max) <= Self.inlineJournal
    } else {
      isSmall = ((try? context.disk.information(path)?.size) ?? .max) <= Self.inlineJournal
    }
    let inline =
      !isSmall
      ? nil
      : database.state.withLockIfAvailable { state in
        (end(&state), Self.takeSynced(&state))
      }
    if let (result, synced) = inline {
      finish(database, result, durable: synced, done: done)
      return
    }
    workers.async { [self] in
      let (result, synced) = database.state.withLock { state in
        (end(&state), Self.takeSynced(&state))
      }
      finish(database, result, durable: synced, done: done)
    }
  }

  private func openJournal(
    _ file: (any DiskFile)?,
    _ path: String
  ) throws(StoreError) -> (any DiskFile)? {
    if let file { return file }
    return try context.disk.openIfPresent(path)
  }

  /// Whether SQLite synced anything in the transaction that ends; then its commit must be durable.
  private static func takeSynced(_ state: inout DatabaseState) -> Bool {
    defer { state.synced = false }
    return state.synced
  }
}

extension Disk {
  /// A file for reading, or nil when there is none.
  func openIfPresent(_ path: String) throws(StoreError) -> (any DiskFile)? {
    guard try information(path) != nil else { return nil }
    return try open(path, [])
  }
}
