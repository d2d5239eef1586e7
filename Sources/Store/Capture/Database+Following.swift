import LTX
import Synchronization

// Write-ahead logs that the kernel passes through: clients write them by themselves, and what they
// have committed is read from the file. That is done where a client
//
// - gives up the WRITE lock: nobody else gets it before, so that no frame is written over, nor the log
//   started over, before its transactions are in Halite's log;
// - syncs the write-ahead log, at a commit with `synchronous=FULL` and before a checkpoint: the sync
//   returns when Halite's log is durable;
// - truncates or removes it;
// - or, where it keeps the database to itself and so needs no lock, when housekeeping comes by.
//
// The rule for what counts as committed is that of `WALCapture`, applied to the file as it is. Between
// two looks nothing is known of what lies behind the last captured frame.

extension Database {
  /// How far a look at a write-ahead log goes.
  enum Reach {
    /// Through the frames that the wal-index shows. What a living writer left behind them it has taken back.
    case shown
    /// As far as there is a valid chain: SQLite's recovery would take all of it for committed.
    case valid
  }

  /// Captures the transactions that clients have written by themselves.
  ///
  /// - Parameter most: frames to look at, at most, for who must not take long.
  /// - Returns: the entry of the last that was captured, and whether the look came to its end.
  func captureWritten(
    _ reach: Reach,
    most: Int = .max,
    in state: inout DatabaseState
  ) throws(StoreError) -> (entry: LogIndex?, isWhole: Bool) {
    guard isFollowed.load(ordering: .relaxed), !state.dropped else { return (nil, true) }
    if let failed = state.failed { throw failed }
    guard let (file, header) = try presentLog(&state) else { return (nil, true) }
    var limit = Int64.max
    if reach == .shown {
      guard let index = state.index, hasHeader(index), index.isOf(header) else {
        return (nil, true)
      }
      // Any process that has the database open can write what it likes there.
      limit = Int64(WALHeader.bytes) + Int64(index.frames) * header.frameBytes
    }
    let stop = most == Int.max ? Int64.max : state.wal.captured + Int64(most) * header.frameBytes
    state.wal.beginLook(through: min(limit, stop))
    defer { state.wal.endLook() }
    let entry = try captureChain(file, in: &state)
    return (entry, limit <= stop || state.wal.chainEnd < stop)
  }

  /// The write-ahead log that is there now; the capture is brought to its header first.
  private func presentLog(
    _ state: inout DatabaseState
  ) throws(StoreError) -> (any DiskFile, WALHeader)? {
    if state.walFile == nil || logWasOpened.exchange(false, ordering: .acquiringAndReleasing) {
      guard let file = try context.disk.openIfPresent(path("-wal")), try isOurLog(file, state)
      else { return nil }
      adopt(file, in: &state)
    }
    guard let file = state.walFile, let header = try WALHeader.read(file) else { return nil }
    if state.wal.header != header {
      // A client that keeps the database to itself, or takes no locks, can have started it over with frames in
      // it that were never seen.
      if isKeptByOne || state.index == nil { state.mayHaveMissed = true }
      state.wal.adopt(header, end: Int64(WALHeader.bytes), sum: header.sum)
      startedOver(&state)
    }
    return (file, header)
  }

  /// How far to look at a moment of which nothing else is known: a chain that the wal-index does not show is a
  /// commit only while its writer is at it. A writer whose commit failed leaves just such a chain behind.
  func presentReach(_ state: DatabaseState) -> Reach {
    let isWritten = sharedMemoryLocks.isLocked(WALLock.write, .write) || isKeptByOne
    return isWritten ? .valid : removalReach(state)
  }

  /// The same, where the log is cut or removed: whoever keeps the database to itself for that is no writer.
  func removalReach(_ state: DatabaseState) -> Reach {
    guard let index = state.index, hasHeader(index) else { return .valid }
    return .shown
  }

  /// Whether places in the write-ahead log still hold what was captured there, to be asked after
  /// reading: a client writes a new header before it writes over the first frame.
  func isCurrent(_ log: any DiskFile, _ state: DatabaseState) throws(StoreError) -> Bool {
    guard isFollowed.load(ordering: .relaxed) else { return true }
    return try WALHeader.read(log) == state.wal.header
  }
}

/// What became of an attempt to capture, or to let log and wal-index agree, on the mount's own thread.
enum InlineEnd {
  /// It is done; the entry of a transaction that was captured.
  case yes(LogIndex?)
  /// It takes more than that thread should give.
  case no
}

extension Database {
  /// `captureWritten`, as far as it is quick.
  func captureInline(_ reach: Reach, in state: inout DatabaseState) -> InlineEnd {
    let found = try? captureWritten(reach, most: Store.inlineFrames, in: &state)
    guard let found, found.isWhole else { return .no }
    return .yes(found.entry)
  }

  /// Lets log and wal-index agree where that is quick, at the end of a write.
  func settleInline(_ state: inout DatabaseState) -> InlineEnd {
    guard let index = state.index, hasHeader(index) else { return .no }
    var end = InlineEnd.yes(nil)
    if isFollowed.load(ordering: .relaxed), !agrees(state, index), !state.mayHaveMissed {
      end = captureInline(.shown, in: &state)
    }
    guard agrees(state, index) else { return .no }
    if case .yes = end { markForReaders(index) }
    return end
  }
}
