import LTX

extension Database {
  /// Frames after which the daemon tries to move a write-ahead log into the main file, as SQLite's
  /// own default has it.
  static let checkpointFrames: UInt32 = 1000
  /// Bytes of frames written at once.
  static let frameBuffer = 1 << 20

  /// Appends a transaction to the write-ahead log and publishes it in the wal-index, exactly as a
  /// SQLite writer would, so that readers keep the snapshots they have.
  ///
  /// The caller (this node being a replica) holds the WAL's WRITE lock for the daemon.
  func applyToWAL(
    _ plan: TransactionPlan,
    log: Log,
    salts: () -> UInt32,
    in state: inout DatabaseState
  ) throws(StoreError) {
    guard let file = state.walFile, let index = state.index else {
      throw StoreError(.invalid, "the write-ahead log of database \(name) is not open")
    }
    try restartIfDone(file, index, salts: salts, in: &state)
    guard let header = state.wal.header else {
      throw StoreError(.invalid, "the write-ahead log of database \(name) has no header")
    }
    let first = state.wal.frames
    var appender = FrameAppender(
      file: file,
      header: header,
      offset: state.wal.captured,
      sum: state.wal.lastSum
    )
    let last = plan.changes.last?.page
    try plan.forEachPage(log: log) { (digest, bytes) throws(StoreError) in
      let commit = digest.number == last ? plan.header.commit : 0
      try appender.append(digest.number.rawValue, commit: commit, bytes)
    }
    if plan.changes.isEmpty {
      // Only the size changed: SQLite, too, must write a frame to say so, and page 1 always exists.
      var page = [UInt8](repeating: 0, count: header.pageSize.bytes)
      try page.withPage(header.pageSize) { buffer throws(StoreError) in
        try readCommitted(PageNumber(1), into: buffer, in: &state)
        try appender.append(1, commit: plan.header.commit, UnsafeRawBufferPointer(buffer))
      }
    }
    try appender.flush()
    try publishFrames(appender, after: first, pages: plan.header.commit, header, index, in: &state)
    plan.finish(&state)
    publish(state, isWAL: true, milliseconds: plan.entry.milliseconds)
  }

  /// Lets readers see frames that have been written behind the last one.
  func publishFrames(
    _ appender: FrameAppender,
    after first: UInt32,
    pages: UInt32,
    _ header: WALHeader,
    _ index: WALIndex,
    in state: inout DatabaseState
  ) throws(StoreError) {
    try index.append(appender.pages, after: first)
    for (frame, page) in appender.pages.enumerated() {
      state.walPages[page] =
        header.offset(ofFrame: first + 1 + UInt32(frame)) + Int64(WALFrame.headerBytes)
    }
    state.wal.adopt(header, end: appender.offset, sum: appender.sum)
    index.publish(
      WALIndex.Header(of: header, frames: state.wal.frames, pages: pages, sum: appender.sum)
    )
    markForReaders(index)
  }

  /// Starts the log over when all of it is in the main file and no reader uses it.
  private func restartIfDone(
    _ file: any DiskFile,
    _ index: WALIndex,
    salts: () -> UInt32,
    in state: inout DatabaseState
  ) throws(StoreError) {
    let frames = state.wal.frames
    guard frames > 0, index.backfilled == frames, let old = state.wal.header else { return }
    var taken: [Int] = []
    defer {
      for slot in taken {
        sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.read(slot))
      }
    }
    for slot in 1...4 {
      guard sharedMemoryLocks.tryLock(.write, WALLock.read(slot)) else { return }
      taken.append(slot)
    }
    let header = WALHeader(
      pageSize: old.pageSize,
      sequence: old.sequence &+ 1,
      salt1: old.salt1 &+ 1,
      salt2: salts()
    )
    try beginWAL(header, file, index, in: &state)
    // Every frame so far is in the main file.
    state.backfilled = state.entry
  }

  /// Writes the header of a fresh log and an index without frames.
  func beginWAL(
    _ header: WALHeader,
    _ file: any DiskFile,
    _ index: WALIndex,
    in state: inout DatabaseState
  ) throws(StoreError) {
    try file.writeAll(header.encoded(), at: 0)
    try index.memory.grow(to: SharedMemory.regionBytes)
    index.publish(
      WALIndex.Header(of: header, frames: 0, pages: state.pages, sum: header.sum)
    )
    index.resetCheckpointInformation()
    state.wal.adopt(header, end: Int64(WALHeader.bytes), sum: header.sum)
    state.walPages.removeAll(keepingCapacity: true)
    state.checkpointAt = Database.checkpointFrames
  }
}

/// Writes frames behind the last one of a log, many at a time.
struct FrameAppender {
  let file: any DiskFile
  let header: WALHeader
  /// Where the next frame goes, those still in the buffer counted.
  private(set) var offset: Int64
  private(set) var sum: WALSum
  private(set) var pages: [UInt32] = []
  private var buffer: [UInt8] = []

  init(file: any DiskFile, header: WALHeader, offset: Int64, sum: WALSum) {
    self.file = file
    self.header = header
    self.offset = offset
    self.sum = sum
  }

  mutating func append(_ page: UInt32, commit: UInt32, _ bytes: UnsafeRawBufferPointer)
    throws(StoreError)
  {
    let start = buffer.count
    buffer.append(contentsOf: repeatElement(0, count: WALFrame.headerBytes))
    let header = header
    let previous = sum
    sum = buffer.withUnsafeMutableBytes { raw in
      WALFrame.store(
        page: page,
        commit: commit,
        after: previous,
        in: header,
        content: bytes,
        to: UnsafeMutableRawBufferPointer(rebasing: raw[start...])
      )
    }
    buffer.append(contentsOf: bytes)
    pages.append(page)
    offset += header.frameBytes
    if buffer.count >= Database.frameBuffer { try flush() }
  }

  mutating func flush() throws(StoreError) {
    guard !buffer.isEmpty else { return }
    try file.writeAll(buffer, at: offset - Int64(buffer.count))
    buffer.removeAll(keepingCapacity: true)
  }
}
