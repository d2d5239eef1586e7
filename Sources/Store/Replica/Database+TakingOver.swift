import LTX
import Synchronization

extension WALLock {
  /// What writers, checkpointers and whoever recovers the index take.
  static let writers = LockRange(write.start, recover.end)
}

/// What has come of an attempt to take a database over.
enum TakeOver {
  case done
  /// A client is in the midst of something.
  case later
  /// The files are not what the log says.
  case differs
  /// It was dropped or replaced: what has its name is another database's.
  case gone
}

extension DatabaseState {
  /// Why the files that have the database's name are not to be touched; nil where they are its own.
  var absence: TakeOver? {
    if dropped { return .gone }
    return moves > 0 ? .later : nil
  }
}

extension Database {
  /// Makes the daemon the one writer of a database that clients may have open.
  func takeOver() throws(StoreError) -> TakeOver {
    // Whether the last transaction counts is not known yet, and nobody is to see it before.
    let (last, absence) = state.withLock { ($0.entry, $0.absence) }
    if let absence { return absence }
    if last > context.log.committed, last <= context.log.last.index {
      try serveUndecided()
      return .later
    }
    let outcome = try takeOverDecided()
    return state.withLock { state in
      if let absence = state.absence { return absence }
      if case .later = outcome { return outcome }
      state.isRefused = false
      return outcome
    }
  }

  func playBackJournal(in state: inout DatabaseState) throws(StoreError) {
    if let file = try journalFile(),
      var journal = try RollbackJournal(file)
    {
      try journal.playBack(into: try mainFile(&state))
      state.known = nil
      state.isDoubted = true
    }
    try removeJournal()
  }

  /// Undoes what a writer that is gone has left half done, before anything is written to the main file: later, its
  /// journal would undo that, too.
  ///
  /// The caller has the database to itself.
  func undoAbandoned(in state: inout DatabaseState) throws(StoreError) {
    if try hasHotJournal() { try playBackJournal(in: &state) }
  }

  private func takeOverDecided() throws(StoreError) -> TakeOver {
    // Whoever comes meanwhile waits, and is not refused.
    if mainLocks.tryLock(.write, MainLock.pending, briefly: true) {
      if mainLocks.tryLock(.write, MainLock.shared, briefly: true) {
        defer { unlockExclusive() }
        return try takeOverAlone()
      }
      mainLocks.unlock(owner: .daemon, range: MainLock.pending)
    }
    if try isSharedInWALMode() { return try takeOverShared() }
    // Its first user has locked it and is about to make the index, which the daemon then has to fill.
    if try saysWAL() { return .later }
    // Readers of a database with a rollback journal; each transaction takes the locks it needs.
    guard !mainLocks.isLocked(LockRange(0, .max), .write) else { return .later }
    // What a writer has left half done is undone once nobody reads, and nothing is applied before.
    if try hasHotJournal() { return .later }
    return try agrees() ? .done : .differs
  }

  /// Whether those who have it open use a write-ahead log.
  func isSharedInWALMode() throws(StoreError) -> Bool {
    guard try context.disk.information(path("-shm")) != nil else { return false }
    return try saysWAL()
  }

  /// Whether the main file says that there is a write-ahead log.
  private func saysWAL() throws(StoreError) -> Bool {
    try state.withLock { state throws(StoreError) in
      try DatabaseHeader.read(try mainFile(&state))?.readVersion == 2
    }
  }

  /// Nobody else has it open, or at least nobody reads.
  private func takeOverAlone() throws(StoreError) -> TakeOver {
    // A client that was killed gives its locks up file by file; what it wrote is looked at when it gives up WRITE.
    guard !sharedMemoryLocks.hasOther(than: .daemon) else { return .later }
    try context.log.syncAndWait(through: context.log.last.index)
    return try state.withLock { state throws(StoreError) in
      if let absence = state.absence { return absence }
      guard state.failed == nil else { return .differs }
      try playBackJournal(in: &state)
      try checkpointAlone(in: &state)
      state.index = nil
      state.wal.forget()
      state.walFile = nil
      var isSame = try isIntact(&state)
      if !isSame { isSame = try redoLast(in: &state) }
      try enterWALModeIfSaid(in: &state)
      return isSame ? .done : .differs
    }
  }

  /// Clients read it by a write-ahead log.
  private func takeOverShared() throws(StoreError) -> TakeOver {
    guard !isKeptByOne, sharedMemoryLocks.tryLock(.write, WALLock.write) else { return .later }
    var isDone = false
    defer { if !isDone { sharedMemoryLocks.releaseAll(owner: .daemon) } }
    guard sharedMemoryLocks.tryLock(.read, WALLock.deadManSwitch),
      mainLocks.tryLock(.read, MainLock.shared)
    else { return .later }
    let seen = try context.disk.open(sharedMemoryPath, [.write])
    let index = WALIndex(memory: try SharedMemory(seen))
    let result = try state.withLock { state throws(StoreError) -> TakeOver in
      if let absence = state.absence { return absence }
      guard state.failed == nil, let size = state.pageSize else { return .differs }
      state.index = index
      let file = try context.disk.open(path("-wal"), [.write, .create])
      if let header = state.wal.header, let old = state.walFile,
        try old.information().isSameFile(as: try file.information())
      {
        state.walFile = file
        // Frames of a transaction that was refused are written over.
        state.wal.adopt(header, end: state.wal.captured, sum: state.wal.lastSum)
        if try index.header() == nil {
          guard try rebuild(index, header, file, through: state.walEnd) else { return .differs }
        }
        // A writer that was told that its transaction failed did not publish it.
        if state.isRefused, let shown = try index.header(), index.isOf(header) {
          try rollForward(index, shown, header, file, &state)
        }
        guard agrees(state, index) else { return .differs }
        // No client would set it for what is applied.
        markForReaders(index)
        return .done
      }
      // A log in which nothing has been committed yet: its first user has just come.
      if try index.header() != nil, index.frames > 0 { return .differs }
      state.walPages.removeAll()
      let wal = WALHeader(
        pageSize: size,
        sequence: 0,
        salt1: context.random(),
        salt2: context.random()
      )
      try beginWAL(wal, file, index, in: &state)
      state.walFile = file
      return try isIntact(&state) ? .done : .differs
    }
    isDone = true
    return result
  }

  /// Makes the index of a log whose frames have been captured, up to `end`. Whoever has just come to the database
  /// has emptied it, and cannot do that by itself here.
  func rebuild(
    _ index: WALIndex,
    _ header: WALHeader,
    _ file: any DiskFile,
    through end: WALEnd
  ) throws(StoreError) -> Bool {
    let frames = UInt32((end.end - Int64(WALHeader.bytes)) / header.frameBytes)
    var pages: [UInt32] = []
    if frames > 0 {
      guard let found = try pageNumbers(1...frames, header, file) else { return false }
      pages = found
    }
    try index.memory.grow(to: SharedMemory.regionBytes)
    try index.append(pages, after: 0)
    index.publish(
      WALIndex.Header(of: header, frames: frames, pages: end.pages, sum: end.sum)
    )
    index.resetCheckpointInformation()
    return true
  }

  private func agrees() throws(StoreError) -> Bool {
    try state.withLock { state throws(StoreError) in
      guard state.failed == nil else { return false }
      return try isIntact(&state)
    }
  }

  /// Whether the main file, of a database without a write-ahead log, is what the log says.
  func isIntact(_ state: inout DatabaseState) throws(StoreError) -> Bool {
    guard let size = state.pageSize, state.pages > 0, let checksums = state.checksums else {
      return true
    }
    let main = try mainFile(&state)
    let now = try main.known()
    if isUndoubted(state, now) { return true }
    guard try main.checksums(size, pages: Int(state.pages)).total == checksums.total,
      now.information.size == Int64(state.pages) * Int64(size.bytes)
    else { return false }
    state.known = now
    state.uncompared = false
    state.isDoubted = false
    return true
  }

  private func isUndoubted(_ state: DatabaseState, _ now: KnownFile) -> Bool {
    state.known == now && !state.uncompared && !state.isDoubted && !state.isReplaced
  }

  /// The checksums of the pages that the node has, of which those that differ from the primary's are to be fetched. Where the
  /// files may not be what the log says, a page that is not what the node remembers of it has none, and is sent in any
  /// case: a free page, for one, keeps what a client that died wrote to it.
  func presentChecksums(_ state: inout DatabaseState) throws(StoreError) -> [UInt64] {
    guard let checksums = state.checksums else { return [] }
    guard let size = state.pageSize, state.pages > 0, state.wal.frames == 0 else {
      return checksums.values
    }
    let main = try mainFile(&state)
    if isUndoubted(state, try main.known()) { return checksums.values }
    let present = try main.checksums(size, pages: Int(state.pages)).values
    return zip(checksums.values, present).map { $0 == $1 ? $0 : Checksum.none.rawValue }
  }
}
