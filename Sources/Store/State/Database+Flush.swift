import LTX
import Synchronization

extension Database {
  /// Makes the database's files stable up to what has reached the main file, so that redo after a
  /// crash begins later, and the log before that can go.
  ///
  /// Blocks on several fsyncs; the state's lock is held only for copying what is to be written.
  func flush(log: Log, disk: any Disk, directory: String) throws(StoreError) {
    // One after the other: an older description must never replace a newer one.
    let result: Result<Void, StoreError> = flushing.withLock { _ in
      do throws(StoreError) {
        return .success(try flushNow(log: log, disk: disk, directory: directory))
      } catch { return .failure(error) }
    }
    try result.get()
  }

  /// Writes the record of a rename that the log has, under the name the database will have.
  func noteRename(to name: String, by entry: LogIndex) throws(StoreError) {
    let result: Result<Void, StoreError> = flushing.withLock { _ in
      state.withLock { state in
        if state.backfilled == state.entry { state.backfilled = entry }
        state.entry = entry
        state.stable = .zero
        state.checksums?.markAllDirty()
      }
      do throws(StoreError) {
        return .success(
          try flushNow(
            as: name,
            log: context.log,
            disk: context.disk,
            directory: context.stateDirectory
          )
        )
      } catch { return .failure(error) }
    }
    try result.get()
  }

  private func flushNow(
    as name: String? = nil,
    log: Log,
    disk: any Disk,
    directory: String
  ) throws(StoreError) {
    let pending = try state.withLock { state throws(StoreError) in
      try Self.pendingFlush(&state, self, name)
    }
    guard let pending else { return }
    do throws(StoreError) {
      // The log first: what the files say must never be ahead of it.
      try log.syncAndWait(through: pending.record.entry)
      if let main = pending.main { try makeDurable(main) }
      // Before the names: a journal that is removed meanwhile must not come back either.
      if pending.endedJournal { try syncJournal() }
      if !pending.isNamed {
        try syncName(disk)
      } else if pending.endedJournal {
        try context.syncParent(of: self.name)
      }
      try write(pending, disk, directory)
    } catch {
      state.withLock { state in
        state.checksums?.markDirty(pending.dirty)
        state.endedJournal = state.endedJournal || pending.endedJournal
      }
      throw error
    }
    state.withLock { state in
      // A snapshot may have put another history in the place of the one that was written.
      state.isNamed = state.isNamed || !pending.isRenaming
      if state.history == pending.history {
        state.stable = max(state.stable, pending.record.stable)
      }
    }
  }

  private func makeDurable(_ main: any DiskFile) throws(StoreError) {
    if state.withLock({ $0.needsRenewal }) { try renew(main) }
    try syncNoting(main)
  }

  /// Syncs the main file; a failure is remembered until the file has been renewed.
  func syncNoting(_ main: any DiskFile) throws(StoreError) {
    do throws(StoreError) { try main.sync() } catch {
      state.withLock { $0.needsRenewal = true }
      throw error
    }
  }

  /// Writes the main file again as it is, after a sync of it failed: the kernel calls pages clean that it could not
  /// write, and the next sync says nothing of them.
  ///
  /// Nobody else may write the file meanwhile: a client with a rollback journal needs the EXCLUSIVE lock for that,
  /// one that checkpoints the CKPT lock; both wait. The node itself writes it with the state in hand.
  ///
  /// - Throws: `.busy` while somebody may be writing it.
  private func renew(_ main: any DiskFile) throws(StoreError) {
    let busy = StoreError(
      .busy,
      "database \(name) is to be written again, since the disk failed, and a client is writing it"
    )
    let result = reading.withLockIfAvailable { _ -> Result<Void, StoreError> in
      let isReader = mainLocks.holds(owner: .daemon, range: MainLock.shared, kind: .read)
      guard isReader || mainLocks.tryLock(.read, MainLock.shared, briefly: true) else {
        return .failure(busy)
      }
      defer { if !isReader { mainLocks.unlock(owner: .daemon, range: MainLock.shared) } }
      guard sharedMemoryLocks.tryLock(.write, WALLock.checkpoint, briefly: true) else {
        return .failure(busy)
      }
      defer { sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.checkpoint) }
      return state.withLock { state in
        do throws(StoreError) { return .success(try renewNow(main, &state)) } catch {
          return .failure(error)
        }
      }
    }
    try (result ?? .failure(busy)).get()
  }

  private func renewNow(
    _ main: any DiskFile,
    _ state: inout DatabaseState
  ) throws(StoreError) {
    let wasKnown = try state.known == main.known()
    let size = try main.information().size
    var offset: Int64 = 0
    while offset < size {
      let bytes = try main.readBytes(Int(min(1 << 20, size - offset)), at: offset)
      guard !bytes.isEmpty else { break }
      try main.writeAll(bytes, at: offset)
      offset += Int64(bytes.count)
    }
    if wasKnown { state.known = try main.known() }
    state.needsRenewal = false
  }

  /// Makes the main file's entry in its directory durable, and those of the directories above it.
  private func syncName(_ disk: any Disk) throws(StoreError) {
    var path = self.path()
    while path.utf8.count > context.tree.utf8.count, let slash = path.lastIndex(of: "/") {
      path = String(path[..<slash])
      try disk.syncDirectory(path)
    }
  }

  private struct PendingFlush {
    var record: DatabaseRecord
    var isNamed: Bool
    var isRenaming: Bool
    /// Whether a journal may come back that would undo what the record calls stable.
    var endedJournal: Bool
    var history: Int
    var main: (any DiskFile)?
    var dirty: Set<Int>
    var blocks: [(offset: Int64, bytes: [UInt8])]
  }

  private static func pendingFlush(
    _ state: inout DatabaseState,
    _ database: Database,
    _ name: String?
  ) throws(StoreError) -> PendingFlush? {
    // After a late failure the files lack what the log has: redo must begin before that.
    guard !state.dropped, !state.isEnding, state.failed == nil, state.unkept.isEmpty,
      let pageSize = state.pageSize,
      var checksums = state.checksums,
      state.backfilled > state.stable
    else { return nil }
    state.checksums = nil
    let dirty = checksums.takeDirty()
    let blocks = dirty.sorted().compactMap { block -> (offset: Int64, bytes: [UInt8])? in
      let low = block * PageChecksums.perBlock
      let high = min(low + PageChecksums.perBlock, checksums.count)
      guard low < high else { return nil }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(8 * (high - low))
      for value in checksums.values[low..<high] { bytes.appendBigEndian(value) }
      return (Int64(8 * low), bytes)
    }
    state.checksums = checksums
    let record = DatabaseRecord(
      key: database.key,
      name: name ?? database.name,
      stable: state.backfilled,
      entry: state.entry,
      position: state.position,
      pageSize: UInt32(pageSize.bytes),
      pages: state.pages
    )
    defer { state.endedJournal = false }
    return PendingFlush(
      record: record,
      isNamed: state.isNamed || name != nil,
      isRenaming: name != nil,
      endedJournal: state.endedJournal,
      history: state.history,
      main: try database.mainFile(&state),
      dirty: dirty,
      blocks: blocks
    )
  }

  private func write(
    _ pending: PendingFlush,
    _ disk: any Disk,
    _ directory: String
  ) throws(StoreError) {
    let path = DatabaseRecord.checksumPath(directory, key)
    let file = try disk.open(path, [.write, .create])
    for block in pending.blocks { try file.writeAll(block.bytes, at: block.offset) }
    if try file.information().size > Int64(pending.record.pages) * 8 {
      try file.truncate(to: Int64(pending.record.pages) * 8)
    }
    try file.sync()
    try disk.replace(
      DatabaseRecord.path(directory, key),
      with: pending.record.encoded(),
      in: directory
    )
  }
}
