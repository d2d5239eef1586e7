import LTX

extension Database {
  /// What became of an attempt to checkpoint.
  enum CheckpointOutcome { case complete, partial, busy }

  /// Moves committed frames into the main file as far as readers allow, without waiting for any:
  /// SQLite's PASSIVE checkpoint, by the same locks.
  ///
  /// The log must be durable up to `state.entry` when this is called: pages then never reach the
  /// main file before the transaction that wrote them is safe.
  func checkpoint(in state: inout DatabaseState) throws(StoreError) -> CheckpointOutcome {
    guard let index = state.index, let wal = state.wal.header, let file = state.walFile,
      let header = try index.header(), header.salt1 == wal.salt1, header.salt2 == wal.salt2,
      header.frames == state.wal.frames
    else { return .busy }
    guard header.frames > 0, index.backfilled < header.frames else {
      state.backfilled = state.entry
      return .complete
    }
    guard sharedMemoryLocks.tryLock(.write, WALLock.checkpoint, briefly: true) else { return .busy }
    defer { sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.checkpoint) }
    let safe = safeFrame(index, header.frames)
    let done = index.backfilled
    guard done < safe else { return .partial }
    // Readers in slot 0 read the main file alone and must not see it change.
    guard sharedMemoryLocks.tryLock(.write, WALLock.read(0)) else { return .busy }
    defer { sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.read(0)) }
    index.backfillAttempted = safe
    let main = try mainFile(&state)
    try copyFrames(after: done, through: safe, wal, file, main, state)
    if safe == header.frames {
      let size = Int64(header.pages) * Int64(wal.pageSize.bytes)
      if try main.information().size > size { try main.truncate(to: size) }
      state.backfilled = state.entry
    }
    state.known = try main.known()
    index.backfilled = safe
    return safe == header.frames ? .complete : .partial
  }

  /// The last frame that no reader's snapshot forbids to move. Marks nobody holds are moved up.
  private func safeFrame(_ index: WALIndex, _ frames: UInt32) -> UInt32 {
    var safe = frames
    for slot in 1...4 {
      let mark = index.readMark(slot)
      guard mark < safe else { continue }
      if sharedMemoryLocks.tryLock(.write, WALLock.read(slot)) {
        index.setReadMark(slot, slot == 1 ? safe : WALIndex.unusedMark)
        sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.read(slot))
      } else {
        safe = mark
      }
    }
    return safe
  }

  /// Copies each page whose newest frame lies in the range.
  private func copyFrames(
    after done: UInt32,
    through safe: UInt32,
    _ wal: WALHeader,
    _ file: any DiskFile,
    _ main: any DiskFile,
    _ state: DatabaseState
  ) throws(StoreError) {
    let low = wal.offset(ofFrame: done + 1)
    let high = wal.offset(ofFrame: safe + 1)
    let pages = state.pages
    let chosen = state.walPages
      .filter { $0.value >= low && $0.value < high && $0.key <= pages }
      .sorted { $0.key < $1.key }
    var page = [UInt8](repeating: 0, count: wal.pageSize.bytes)
    for (number, offset) in chosen {
      try page.withPage(wal.pageSize) { buffer throws(StoreError) in
        try file.readWhole(buffer, at: offset)
        try main.write(
          UnsafeRawBufferPointer(buffer),
          at: PageNumber(number).offset(wal.pageSize)
        )
      }
    }
  }

  /// Moves the whole log into the main file, while nobody has the database open.
  func checkpointAlone(in state: inout DatabaseState) throws(StoreError) {
    guard let wal = state.wal.header, let file = state.walFile, !state.walPages.isEmpty else {
      return
    }
    let main = try mainFile(&state)
    try copyFrames(after: 0, through: state.wal.frames, wal, file, main, state)
    try main.truncate(to: Int64(state.pages) * Int64(wal.pageSize.bytes))
    state.walPages.removeAll()
    state.backfilled = state.entry
    state.known = try main.known()
  }

  /// The committed content of a page, wherever it is now.
  ///
  /// - Parameter buffer: one page.
  func readCommitted(
    _ page: PageNumber,
    into buffer: UnsafeMutableRawBufferPointer,
    in state: inout DatabaseState
  ) throws(StoreError) {
    guard let size = state.pageSize, buffer.count == size.bytes else {
      throw StoreError(.invalid, "database \(name) has no pages of \(buffer.count) bytes")
    }
    if let offset = state.walPages[page.rawValue], let file = state.walFile {
      try file.readWhole(buffer, at: offset)
      if try isCurrent(file, state) { return }
    }
    try mainFile(&state).readPadded(buffer, at: page.offset(size))
  }
}
