import LTX

extension Database {
  /// Captures what a write to the write-ahead log commits, then makes the write.
  ///
  /// - Returns: the entry that commits the last transaction the write completed, or nil.
  /// - Throws: when the transaction cannot be logged; the write is then not made, so that SQLite
  ///   sees the error and drops the transaction.
  func writeWAL(
    _ file: any DiskFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    if let stalled = state.stalled { throw stalled }
    if state.walFile !== file {
      guard try isOurLog(file, state) else {
        try file.write(bytes, at: offset)
        return nil
      }
      adopt(file, in: &state)
    }
    var header = state.wal.header
    let mark = state.wal.mark
    var logged: LogIndex?
    do throws(StoreError) {
      while let transaction = try prepare(file, at: offset, bytes, in: &state) {
        noteHeader(&header, &state)
        if let failed = state.failed { throw failed }
        state.beforeLast = state.walEnd
        let entry = try record(transaction, file, at: offset, bytes, in: &state, recorder)
        state.wal.commit()
        logged = entry ?? logged
      }
    } catch {
      takeBack(offset, mark, isLogged: logged != nil, &state)
      throw error
    }
    noteHeader(&header, &state)
    do throws(StoreError) {
      try file.write(bytes, at: offset)
    } catch {
      takeBack(offset, mark, isLogged: logged != nil, &state)
      throw error
    }
    if logged != nil {
      state.unkept.removeAll()
      publish(state, isWAL: true, milliseconds: recorder.milliseconds)
    }
    return logged
  }

  /// Takes note that the write-ahead log is started over, where it is.
  private func noteHeader(_ last: inout WALHeader?, _ state: inout DatabaseState) {
    guard state.wal.header != last else { return }
    last = state.wal.header
    // SQLite writes a header in one piece. Where another program spoils it, what it committed is gone.
    if last == nil, !state.walPages.isEmpty { state.isReplaced = true }
    startedOver(&state)
  }

  /// SQLite starts a log over only when all of it is in the main file and nobody reads it.
  func startedOver(_ state: inout DatabaseState) {
    state.walPages.removeAll(keepingCapacity: true)
    state.backfilled = state.entry
  }

  /// Takes a write to the write-ahead log for not made.
  private func takeBack(
    _ offset: Int64,
    _ mark: WALCapture.Mark,
    isLogged: Bool,
    _ state: inout DatabaseState
  ) {
    if isLogged {
      giveUp(at: offset, backTo: mark, in: &state)
    } else {
      state.wal.abort(at: offset)
    }
  }

  /// Captures what a writer that is gone has left as a valid chain behind the last captured frame:
  /// the next connection's recovery would take it for committed.
  func captureDangling(in state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    guard state.wal.isDangling, let file = state.walFile else { return nil }
    state.wal.trustFile()
    defer { state.wal.settle() }
    return try captureChain(file, in: &state)
  }

  /// Captures the transactions that lie behind the last captured frame, as far as the capture takes the file
  /// for written.
  func captureChain(
    _ file: any DiskFile,
    in state: inout DatabaseState
  ) throws(StoreError) -> LogIndex? {
    let end = state.wal.chainEnd
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let recorder = recorder
    var logged: LogIndex?
    while let transaction = try prepare(file, at: max(end, state.wal.chainEnd), nothing, in: &state)
    {
      if let failed = state.failed { throw failed }
      state.beforeLast = state.walEnd
      logged = try record(transaction, file, at: end, nothing, in: &state, recorder) ?? logged
      state.wal.commit()
    }
    if logged != nil { publish(state, isWAL: true, milliseconds: recorder.milliseconds) }
    return logged
  }

  /// What a database is left with when its files could not follow the log.
  static func lateFailure(_ name: String, _ cause: StoreError) -> StoreError {
    StoreError(
      cause.code,
      "a transaction of database \(name) is in the log, but its files could not take it; it is "
        + "completed from the log once the disk works, at the latest when the node is restarted",
      cause: cause
    )
  }

  /// Whether writes to this file are writes to the database: not where it has been removed
  /// and somebody still has it open, nor where there is no database that it could be the log of, as
  /// when files are copied one by one. SQLite would ignore such a log, too.
  func isOurLog(
    _ file: any DiskFile,
    _ state: borrowing DatabaseState
  ) throws(StoreError) -> Bool {
    guard let present = try context.disk.information(path("-wal")) else { return false }
    guard present.isSameFile(as: try file.information()) else { return false }
    if state.position.txid > .zero { return true }
    return (try context.disk.information(path())?.size ?? 0) > 0
  }

  /// The daemon sees this file for the first time: what is in it has been captured, for at
  /// start no write-ahead log is left, and all later writes come through here.
  func adopt(_ file: any DiskFile, in state: inout DatabaseState) {
    let isSame: Bool
    if let old = state.walFile, let a = try? old.information(), let b = try? file.information() {
      isSame = a.isSameFile(as: b)
    } else {
      isSame = false
    }
    state.walFile = file
    if !isSame {
      state.wal.forget()
      state.walPages.removeAll(keepingCapacity: true)
      // A log is removed only by the last connection, after a checkpoint.
      state.backfilled = state.entry
    }
  }

  private func prepare(
    _ file: any DiskFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    in state: inout DatabaseState
  ) throws(StoreError) -> WALCapture.Transaction? {
    // The buffer is taken out while the capture reads into it: the two are parts of one value.
    var frame = state.scratch.takeFrame()
    defer { state.scratch.frame = frame }
    var result: Result<WALCapture.Transaction?, StoreError> = .success(nil)
    frame.withUnsafeMutableBytes { scratch in
      do throws(StoreError) {
        result = .success(
          try state.wal.prepare(at: offset, bytes, scratch: scratch) {
            (at, buffer) throws(StoreError) in
            try file.read(into: buffer, at: at) == buffer.count
          }
        )
      } catch { result = .failure(error) }
    }
    return try result.get()
  }

  func record(
    _ transaction: WALCapture.Transaction,
    _ file: any DiskFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    in state: inout DatabaseState,
    _ recorder: TransactionRecorder
  ) throws(StoreError) -> LogIndex? {
    let pageSize = transaction.header.pageSize
    let old = state.pageSize == pageSize ? state.pages : 0
    var places = state.scratch.pages
    state.scratch.pages = []
    defer { state.scratch.pages = places }
    let readsMain = transaction.commit > old || !state.unkept.isEmpty
    let main = readsMain ? try mainFile(&state) : state.main
    try checkGrowth(transaction, from: old, main)
    collect(transaction, old: old, walPages: state.walPages, into: &places)
    if !state.unkept.isEmpty { addUnkept(upTo: transaction.commit, state, to: &places) }
    var page = state.scratch.takeFrame()
    defer { state.scratch.frame = page }
    let details = TransactionRecorder.Details(
      pageSize: pageSize,
      pages: transaction.commit,
      wal: transaction
    )
    let entry = try recorder.record(details, places, in: &state) { place, use throws(StoreError) in
      if let at = place.offset, at >= offset,
        at + Int64(pageSize.bytes) <= offset + Int64(bytes.count)
      {
        let from = Int(at - offset)
        try use(UnsafeRawBufferPointer(rebasing: bytes[from..<(from + pageSize.bytes)]))
        return
      }
      try page.withPage(pageSize) { buffer throws(StoreError) in
        if let at = place.offset {
          try file.readWhole(buffer, at: at, asWritten: bytes, at: offset)
        } else {
          try main?.readPadded(buffer, at: place.page.offset(pageSize))
        }
        try use(UnsafeRawBufferPointer(buffer))
      }
    }
    let frameBytes = transaction.header.frameBytes
    for (frame, number) in transaction.pages.enumerated() {
      state.walPages[number] =
        transaction.offset + Int64(frame) * frameBytes + Int64(WALFrame.headerBytes)
    }
    return entry
  }

  /// Refuses a size that the frames cannot have led to, see `WALHeader.canReach`.
  private func checkGrowth(
    _ transaction: WALCapture.Transaction,
    from old: UInt32,
    _ main: (any DiskFile)?
  ) throws(StoreError) {
    guard transaction.commit > old else { return }
    let held = try (main?.information().size ?? 0) / Int64(transaction.header.pageSize.bytes)
    guard
      transaction.header.canReach(
        pages: transaction.commit,
        from: max(old, UInt32(clamping: held)),
        frames: transaction.pages.count
      )
    else {
      throw StoreError(
        .corrupt,
        "a transaction of database \(name) makes \(transaction.commit) pages out of \(old) with "
          + "\(transaction.pages.count) frames"
      )
    }
  }

  /// The newest frame of each page, ascending, and the pages by which the database grew without
  /// a frame: those hold what the log or the main file had there before, or zeros.
  private func collect(
    _ transaction: WALCapture.Transaction,
    old: UInt32,
    walPages: [UInt32: Int64],
    into places: inout [PagePlace]
  ) {
    places.removeAll(keepingCapacity: true)
    let frameBytes = transaction.header.frameBytes
    for (frame, number) in transaction.pages.enumerated() where number <= transaction.commit {
      let at = transaction.offset + Int64(frame) * frameBytes + Int64(WALFrame.headerBytes)
      places.append(PagePlace(page: PageNumber(number), offset: at))
    }
    if places.count > 1 {
      places.sort { ($0.page, $0.offset ?? 0) < ($1.page, $1.offset ?? 0) }
      var kept = 0
      for next in 1..<places.count {
        if places[next].page != places[kept].page { kept += 1 }
        places[kept] = places[next]
      }
      places.removeLast(places.count - kept - 1)
    }
    guard transaction.commit > old else { return }
    let grown = places.drop { $0.page.rawValue <= old }
    guard grown.count < Int(transaction.commit - old) else { return }
    let present = Set(grown.map(\.page.rawValue))
    for number in (old + 1)...transaction.commit where !present.contains(number) {
      places.append(PagePlace(page: PageNumber(number), offset: walPages[number]))
    }
    places.sort { $0.page < $1.page }
  }
}

extension [UInt8] {
  /// The first page of the buffer, for filling and looking at.
  mutating func withPage(
    _ size: PageSize,
    _ body: (UnsafeMutableRawBufferPointer) throws(StoreError) -> Void
  ) throws(StoreError) {
    var failure: StoreError?
    withUnsafeMutableBytes { raw in
      do throws(StoreError) {
        try body(UnsafeMutableRawBufferPointer(rebasing: raw[0..<size.bytes]))
      } catch { failure = error }
    }
    if let failure { throw failure }
  }
}

extension DiskFile {
  /// Fills the buffer or throws.
  func readWhole(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) {
    guard try read(into: buffer, at: offset) == buffer.count else {
      throw StoreError(.corrupt, "a file ends before byte \(offset + Int64(buffer.count))")
    }
  }

  /// Fills the buffer with what the file holds once `bytes` are written at `start`, or throws: a
  /// page may be written in two parts, with the sync between them.
  func readWhole(
    _ buffer: UnsafeMutableRawBufferPointer,
    at offset: Int64,
    asWritten bytes: UnsafeRawBufferPointer,
    at start: Int64
  ) throws(StoreError) {
    let end = offset + Int64(buffer.count)
    let low = min(max(start, offset), end)
    let high = max(min(start + Int64(bytes.count), end), low)
    if low > offset {
      try readWhole(.init(rebasing: buffer[..<Int(low - offset)]), at: offset)
    }
    if high > low {
      let part = UnsafeRawBufferPointer(rebasing: bytes[Int(low - start)..<Int(high - start)])
      UnsafeMutableRawBufferPointer(rebasing: buffer[Int(low - offset)...]).copyMemory(from: part)
    }
    if end > high {
      try readWhole(.init(rebasing: buffer[Int(high - offset)...]), at: high)
    }
  }

  /// The checksum of a page, which is read into the buffer: from its place in a main file, or from
  /// `offset` in a write-ahead log.
  func checksum(
    of page: PageNumber,
    _ size: PageSize,
    at offset: Int64? = nil,
    _ buffer: inout [UInt8]
  ) throws(StoreError) -> Checksum {
    var checksum = Checksum.none
    try buffer.withPage(size) { raw throws(StoreError) in
      try readPadded(raw, at: offset ?? page.offset(size))
      checksum = Checksum.page(page, UnsafeRawBufferPointer(raw))
    }
    return checksum
  }

  /// The checksums of all pages of a main file.
  func checksums(_ size: PageSize, pages: Int) throws(StoreError) -> PageChecksums {
    var checksums = PageChecksums(pageSize: size)
    checksums.resize(to: pages)
    var buffer = [UInt8](repeating: 0, count: size.bytes)
    for number in 0..<UInt32(clamping: pages) {
      let page = PageNumber(number + 1)
      guard page != size.lockPage else { continue }
      checksums.set(page, try checksum(of: page, size, &buffer))
    }
    return checksums
  }

  /// Fills the buffer, with zeros where the file has ended, as SQLite reads a page.
  func readPadded(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) {
    let count = try read(into: buffer, at: offset)
    guard count < buffer.count else { return }
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).initializeMemory(
      as: UInt8.self,
      repeating: 0
    )
  }
}
