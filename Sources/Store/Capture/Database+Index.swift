import LTX
import Logging
import Synchronization

// What the wal-index says of a write-ahead log, where it is not what was captured.

extension Database {
  /// Captures frames that a writer has published in the wal-index although their checksums do not
  /// make a valid chain.
  ///
  /// SQLite up to 3.50 leaves such frames when a savepoint is rolled back that had overwritten frames
  /// of its own transaction (sqlite.org/forum/forumpost/b490f726db). Its own recovery would lose the
  /// transaction, yet readers see it, so it is recorded as soon as the writer lets go of the log.
  private func capturePublished(
    _ published: WALIndex.Header,
    _ index: WALIndex,
    _ wal: WALHeader,
    _ file: any DiskFile,
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    // Only the index knows the pages: in such frames the header is of an earlier generation of the log.
    let end = wal.offset(ofFrame: published.frames + 1)
    guard try file.information().size >= end,
      let pages = try index.pages((state.wal.frames + 1)...published.frames)
    else { return nil }
    let transaction = WALCapture.Transaction(
      pages: pages,
      offset: state.wal.captured,
      end: end,
      commit: published.pages,
      header: wal
    )
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let entry = try record(transaction, file, at: 0, nothing, in: &state, recorder)
    state.wal.adopt(wal, end: end, sum: published.sum)
    publish(state, isWAL: true, milliseconds: recorder.milliseconds)
    return entry
  }

  /// The pages that frames hold, by their headers; nil where the file does not hold these frames.
  func pageNumbers(
    _ frames: ClosedRange<UInt32>,
    _ wal: WALHeader,
    _ file: any DiskFile
  ) throws(StoreError) -> [UInt32]? {
    let end = wal.offset(ofFrame: frames.upperBound) + wal.frameBytes
    guard try file.information().size >= end else { return nil }
    var pages: [UInt32] = []
    for frame in frames {
      let bytes = try file.readBytes(WALFrame.headerBytes, at: wal.offset(ofFrame: frame))
      guard bytes.count == WALFrame.headerBytes else { return nil }
      let head = bytes.withUnsafeBytes { WALFrame($0) }
      guard head.page > 0, head.salt1 == wal.salt1, head.salt2 == wal.salt2 else { return nil }
      pages.append(head.page)
    }
    return pages
  }

  /// Whether captured frames behind `first` are in the file as they were captured.
  private func areIntact(
    after first: WALIndex.Header,
    through last: UInt32,
    _ wal: WALHeader,
    _ file: any DiskFile
  ) throws(StoreError) -> Bool {
    var sum = first.sum
    guard first.frames < last else { return true }
    for number in (first.frames + 1)...last {
      let bytes = try file.readBytes(Int(wal.frameBytes), at: wal.offset(ofFrame: number))
      guard bytes.count == Int(wal.frameBytes) else { return false }
      let next = bytes.withUnsafeBytes { raw -> WALSum? in
        let frame = WALFrame(raw)
        let head = UnsafeRawBufferPointer(rebasing: raw[..<WALFrame.headerBytes])
        let page = UnsafeRawBufferPointer(rebasing: raw[WALFrame.headerBytes...])
        return frame.follows(sum, in: wal, header: head, content: page) ? frame.sum : nil
      }
      guard let next else { return false }
      sum = next
    }
    return true
  }

  /// Makes the wal-index and the captured transactions agree, while the writer still has its lock.
  ///
  /// Where the writer died, or saw a late error, between the commit frame and the wal-index, the index
  /// does not show a transaction that the log has. The next writer would write over its frames, so
  /// the index is rolled forward. Where it shows frames that no valid chain led to, they are captured.
  /// Where the file was changed by something other than SQLite, what SQLite made of it counts.
  ///
  /// - Parameters:
  ///   - mapped: the index, where it was not mapped before.
  ///   - reach: how far to look at a write-ahead log that clients write by themselves.
  /// - Returns: the entry of a transaction that was captured here.
  func reconcile(
    _ state: inout DatabaseState,
    mapped: WALIndex?,
    _ reach: Reach = .shown
  ) -> LogIndex? {
    // Where the files could not follow the log there is nothing to show.
    guard state.failed == nil else { return nil }
    state.stalled = nil
    var captured: LogIndex?
    do throws(StoreError) {
      captured = try captureDangling(in: &state)
      if state.index == nil { state.index = mapped }
      captured = try captureWritten(reach, in: &state).entry ?? captured
      if state.mayHaveMissed { captured = try captureMissed(in: &state) ?? captured }
      guard let index = state.index, !agreesWithIndex(state), let header = try index.header(),
        header.frames < .max
      else { return captured }
      guard let wal = state.wal.header, let file = state.walFile else {
        return header.frames > 0 ? try captureShown(header, index, in: &state) : captured
      }
      guard header.salt1 == wal.salt1, header.salt2 == wal.salt2 else { return captured }
      if header.frames > state.wal.frames {
        return try capturePublished(header, index, wal, file, in: &state, recorder) ?? captured
      }
      guard try areIntact(after: header, through: state.wal.frames, wal, file) else {
        return try captureShown(header, index, in: &state) ?? captured
      }
      try rollForward(index, header, wal, file, &state)
    } catch {
      state.stalled = Database.lateFailure(name, error)
      publish(state)
      context.logger.error(
        "the wal-index of a database could not be brought to the log; it is tried again",
        metadata: ["database": "\(name)", "error": "\(error)"]
      )
    }
    return captured
  }

  func rollForward(
    _ index: WALIndex,
    _ header: WALIndex.Header,
    _ wal: WALHeader,
    _ file: any DiskFile,
    _ state: inout DatabaseState
  ) throws(StoreError) {
    // The index can change at any time: any process that has the database open can write it.
    guard header.frames < state.wal.frames else { return }
    let frames = (header.frames + 1)...state.wal.frames
    guard let pages = try pageNumbers(frames, wal, file) else { return }
    try index.append(pages, after: header.frames)
    index.publish(
      WALIndex.Header(of: wal, frames: state.wal.frames, pages: state.pages, sum: state.wal.lastSum)
    )
    context.logger.notice(
      "completed a transaction whose writer ended before it could publish it",
      metadata: ["database": "\(name)"]
    )
  }

  /// Records the database as main file and wal-index show it, comparing every page: the
  /// write-ahead log came or was changed without SQLite, which has read it since.
  private func captureShown(
    _ header: WALIndex.Header,
    _ index: WALIndex,
    in state: inout DatabaseState
  ) throws(StoreError) -> LogIndex? {
    guard let file = try context.disk.openIfPresent(path("-wal")),
      let wal = try WALHeader.read(file), wal.salt1 == header.salt1, wal.salt2 == header.salt2
    else { return nil }
    var pages: [UInt32] = []
    if header.frames > 0 {
      guard try file.information().size >= wal.offset(ofFrame: header.frames + 1),
        let found = try index.pages(1...header.frames)
      else { return nil }
      pages = found
    }
    let held = try mainFile(&state).information().size / Int64(wal.pageSize.bytes)
    guard
      wal.canReach(
        pages: header.pages,
        from: max(state.pages, UInt32(clamping: held)),
        frames: pages.count
      )
    else { return nil }
    state.walFile = file
    state.walPages = wal.places(of: pages)
    state.wal.adopt(wal, end: wal.offset(ofFrame: header.frames + 1), sum: header.sum)
    let entry = try captureMerged(wal.pageSize, header.pages, in: &state)
    publish(state, isWAL: true, milliseconds: recorder.milliseconds)
    return entry
  }

  /// Compares every page, from the write-ahead log where that has it and else from the main file.
  private func captureMerged(
    _ pageSize: PageSize,
    _ pages: UInt32,
    in state: inout DatabaseState
  ) throws(StoreError) -> LogIndex? {
    guard pages > 0 else { return nil }
    let places = (1...pages).map { number in
      PagePlace(page: PageNumber(number), offset: state.walPages[number])
    }
    let details = TransactionRecorder.Details(pageSize: pageSize, pages: pages, wal: nil)
    return try recordFromFiles(details, places, in: &state)
  }

  /// Compares every page where a client may have started the write-ahead log over before all of it was
  /// captured; nobody writes meanwhile.
  private func captureMissed(in state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    guard let size = state.pageSize else { return nil }
    let main = try mainFile(&state)
    var pages = state.pages
    // Without a frame nothing of the log counts, and the main file says how large the database is.
    if state.wal.frames == 0, let header = try DatabaseHeader.read(main) {
      pages = try DatabaseHeader.pages(of: main, header)
    }
    let entry = try captureMerged(size, pages, in: &state)
    state.mayHaveMissed = false
    publish(state, isWAL: true, milliseconds: recorder.milliseconds)
    return entry
  }

  /// Takes up a write-ahead log that lay there before its database did: what is committed in it is
  /// what the next connection's recovery finds.
  func captureFoundLog(in state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    guard state.walFile == nil, state.position.txid > .zero,
      let file = try context.disk.openIfPresent(path("-wal")),
      let wal = try WALHeader.read(file), wal.pageSize == state.pageSize
    else { return nil }
    state.walFile = file
    state.wal.adopt(wal, end: Int64(WALHeader.bytes), sum: wal.sum)
    state.wal.trustFile()
    return try captureDangling(in: &state)
  }

  /// Records a main file that was written anew under a write-ahead log that is still there.
  func captureReplaced(in state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    guard state.isReplaced, let wal = state.wal.header else { return nil }
    var entry: LogIndex?
    // Where all of the log has been checkpointed, readers look into the main file alone.
    let isCheckpointed = state.index.map { $0.backfilled >= state.wal.frames } ?? false
    if state.wal.frames == 0 || isCheckpointed {
      state.walPages.removeAll()
      entry = try captureAll(in: &state, recorder)
    } else {
      guard wal.pageSize == state.pageSize else { return nil }
      entry = try captureMerged(wal.pageSize, state.pages, in: &state)
      publish(state, isWAL: true, milliseconds: recorder.milliseconds)
    }
    state.isReplaced = false
    return entry
  }

  /// The write-ahead log is gone or empty. After a checkpoint the main file has all of it; where
  /// something else than SQLite took it away, the main file is what is left.
  func logEnded(_ state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    let main = try context.disk.information(path()) == nil ? nil : try mainFile(&state)
    guard let main, let pageSize = state.pageSize, !state.dropped,
      state.failed == nil
    else {
      state.walPages.removeAll()
      return nil
    }
    var buffer = state.scratch.takeFrame()
    defer { state.scratch.frame = buffer }
    var isWhole = !state.isReplaced
    for number in state.walPages.keys where isWhole && number <= state.pages {
      let page = PageNumber(number)
      isWhole = try main.checksum(of: page, pageSize, &buffer) == state.checksums?[page]
    }
    state.walPages.removeAll()
    state.backfilled = state.entry
    if isWhole {
      state.known = try main.known()
      return nil
    }
    state.known = nil
    return try captureAll(in: &state, recorder)
  }

  /// Sets a read mark to the end of the write-ahead log that the wal-index shows, as the next reader would
  /// have to, which costs it two requests: to lock the mark's slot and to let go of it.
  ///
  /// While somebody holds the WRITE lock, so that the end stands. Not where the index is mapped through the
  /// mount: a store to it can then wait for a request, and that for the lock table.
  func markForReaders(_ index: WALIndex) {
    guard context.mountedAt.withLock({ $0 == nil }) else { return }
    let end = index.frames
    let slots = 1...4
    guard end > 0, !slots.contains(where: { index.readMark($0) == end }) else { return }
    _ = slots.first { slot in
      sharedMemoryLocks.whileFree(WALLock.read(slot)) { index.setReadMark(slot, end) }
    }
  }
}
