import LTX
import Synchronization

/// The node's log: append-only segments in one directory, one write for each entry, or for many that come together.
///
/// The order of entries is the order in which `append` took the lock, and that lock is held for
/// the write of the entry (into the page cache, not to the platter): it is the one place where
/// commits of different databases meet. Durability is separate: `sync(through:)` is served by
/// `LogSyncer`, one `fdatasync` for all who wait.
package final class Log: Sendable {
  struct State {
    var segments: [Segment]
    var last: EntryID
    var terms: [TermStart]
    var recent = RecentEntries()
    /// The lowest term under which anything is taken in.
    var minTerm = Term.zero
    /// Whether this node appends entries of its own: not once it has ceased to be the primary.
    var isWriter = true
    /// Entries that another node, the primary, appended for this one, and that may still be asked for.
    var forwarded: Set<LogIndex> = []
    /// How long whoever asks for one of those waits, in seconds.
    var outcomeSeconds = 30.0
    /// Whether the lease that this node writes under still holds; asked for each entry of its own.
    var mayWrite: @Sendable () -> Bool = { true }
    /// Set after a write that may have left part of an entry behind; nothing more is appended.
    var failed: StoreError?
    /// Whether zeros may be written ahead of the entries.
    var keepsRoom = true
    /// Changes when a file takes the place of a segment's: what was looked up before is no longer so.
    var replaced: UInt64 = 0
    var subscribers: [UInt64: @Sendable () -> Void] = [:]
    var nextSubscriber: UInt64 = 0
  }

  let directory: String
  let disk: any Disk
  let clock: any WallClock
  let segmentBytes: Int64
  let state: Mutex<State>
  let syncer: LogSyncer
  let commits: CommitIndex

  init(
    directory: String,
    disk: any Disk,
    clock: any WallClock,
    segmentBytes: Int64,
    state: State
  ) {
    self.directory = directory
    self.disk = disk
    self.clock = clock
    self.segmentBytes = segmentBytes
    self.state = Mutex(state)
    // What was found at opening is on the disk as far as anyone can tell.
    syncer = LogSyncer(durable: state.last.index)
    commits = CommitIndex(state.last.index)
  }

  /// The last entry, whether durable or not.
  package var last: EntryID { state.withLock { $0.last } }

  package func summary() -> LogSummary {
    state.withLock { state in
      LogSummary(
        first: state.segments.first?.first ?? state.last.index.next,
        last: state.last,
        terms: state.terms
      )
    }
  }

  /// The first entry of the term of the last one; zero where it is not remembered.
  package var startOfLastTerm: LogIndex {
    state.withLock { state in
      guard let start = state.terms.last, start.term == state.last.term else {
        return .zero
      }
      return start.first
    }
  }

  /// The term of an entry, also of one that retention has removed, as far as is remembered.
  package func term(at index: LogIndex) -> Term? {
    state.withLock { state in
      guard index <= state.last.index else { return nil }
      return state.terms.last { $0.first <= index }?.term
    }
  }

  /// Appends an entry in the current term.
  ///
  /// - Throws: when the disk refuses; the log is then as before, or, when it cannot even be cut
  ///   back, refuses everything until it is opened anew.
  package func append(
    _ kind: LogEntryKind,
    database: String,
    payload: UnsafeRawBufferPointer
  ) throws(StoreError) -> LogIndex {
    let now = clock.milliseconds
    let (index, wake) = try appendLocked(term: nil) { id, output in
      LogEntry.encode(
        kind,
        id: id,
        milliseconds: now,
        database: database,
        payload: payload,
        into: &output
      )
    }
    for call in wake { call() }
    return index
  }

  /// Opens a term with an entry of no effect.
  ///
  /// - Precondition: `term` is above the last entry's.
  package func begin(_ term: Term) throws(StoreError) {
    let now = clock.milliseconds
    let (first, wake) = try appendLocked(term: term) { id, output in
      LogEntry.encode(
        .noOperation,
        id: id,
        milliseconds: now,
        database: "",
        payload: UnsafeRawBufferPointer(start: nil, count: 0),
        into: &output
      )
    }
    commits.begin(at: first)
    if !needsMajority { commits.advance(to: first) }
    for call in wake { call() }
  }

  private func appendLocked(
    term: Term?,
    _ encode: (EntryID, inout [UInt8]) -> Void
  ) throws(StoreError) -> (LogIndex, [@Sendable () -> Void]) {
    let result: Result<(LogIndex, [@Sendable () -> Void]), StoreError> = state.withLock { state in
      do throws(StoreError) {
        if let failed = state.failed { throw failed }
        if let term {
          precondition(term > state.last.term, "a term must be above the one before")
          guard term >= state.minTerm else { throw outOfOffice() }
        } else {
          guard state.isWriter, state.last.term >= state.minTerm, state.mayWrite() else {
            throw outOfOffice()
          }
        }
        let id = EntryID(term: term ?? state.last.term, index: state.last.index.next)
        try rotateIfFull(&state)
        let range = state.recent.append(id.index) { encode(id, &$0) }
        try write(CollectionOfOne((id, range)), in: &state)
        if term != nil { state.isWriter = true }
        return .success((id.index, Array(state.subscribers.values)))
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Writes the newest entries of `recent`, which lie in its last block, to the active segment and makes them
  /// part of the log.
  func write(
    _ entries: some BidirectionalCollection<(id: EntryID, range: Range<Int>)>,
    in state: inout State
  ) throws(StoreError) {
    guard let first = entries.first, let last = entries.last else { return }
    let active = state.segments.count - 1
    let offset = state.segments[active].end
    let file = state.segments[active].file
    let whole = first.range.lowerBound..<last.range.upperBound
    do throws(StoreError) {
      try state.recent.withLast(whole) { bytes throws(StoreError) in
        try file.write(bytes, at: offset)
      }
    } catch {
      do throws(StoreError) {
        state.segments[active].room = 0
        try file.truncate(to: offset)
      } catch let second {
        state.failed = StoreError(
          second.code,
          "log segment \(state.segments[active].path) could not be cut back after a failed write; it "
            + "takes entries again once the disk works",
          cause: second
        )
      }
      for _ in entries { state.recent.removeLast() }
      throw error
    }
    for (id, range) in entries {
      let start = offset + Int64(range.lowerBound - whole.lowerBound)
      state.segments[active].note(id.index, at: start)
      if id.term != state.last.term {
        state.terms.append(TermStart(term: id.term, first: id.index))
      }
      state.last = id
    }
    state.segments[active].end = offset + Int64(whole.count)
    state.segments[active].last = last.id.index
    state.segments[active].lastMilliseconds = clock.milliseconds
  }

  /// Calls `wake` after each append until the token goes.
  package func onAppend(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let key = state.withLock { state in
      state.nextSubscriber += 1
      state.subscribers[state.nextSubscriber] = wake
      return state.nextSubscriber
    }
    return SubscriptionToken { [weak self] in
      self?.state.withLock { $0.subscribers[key] = nil }
    }
  }

  /// Calls `done` once everything up to `index` is on stable storage, or with the error of the
  /// sync that was to make it so.
  package func sync(through index: LogIndex, done: @escaping MountCompletion) {
    syncer.wait(for: index, log: self, done: done)
  }

  /// The last entry known to be on stable storage.
  package var durable: LogIndex { syncer.durable }
}

extension Log {
  /// Why nothing more is appended after a failed sync: what was written before it may be lost, and
  /// a later sync would not tell, for the kernel reports a lost page only once.
  func failedSync(_ cause: StoreError) -> StoreError {
    StoreError(
      cause.code,
      "the log in \(directory) could not be made durable; it takes entries again once the disk works",
      cause: cause
    )
  }

  /// Begins a new segment when the active one is full.
  func rotateIfFull(_ state: inout State) throws(StoreError) {
    if let active = state.segments.last, active.end < segmentBytes { return }
    // The segment before the full one must be durable before a third can be begun: opening then
    // needs to look for a torn end in the last two only.
    if let full = state.segments.last {
      do throws(StoreError) {
        // Only the last two segments may end with anything but an entry.
        if full.room > full.end {
          try full.file.truncate(to: full.end)
          state.segments[state.segments.count - 1].room = 0
        }
        try full.file.sync()
      } catch {
        state.failed = failedSync(error)
        throw error
      }
    }
    let first = state.last.index.next
    let path = directory + "/" + Segment.fileName(first)
    let header = SegmentHeader(
      first: first,
      previousTerm: state.last.term,
      terms: state.terms
    ).encoded()
    let file = try disk.open(path, [.write, .create, .truncate])
    try file.writeAll(header, at: 0)
    // Durable before the first entry, so that a damaged header before entries is told from a
    // segment that was only begun.
    try file.sync()
    try disk.syncDirectory(directory)
    state.segments.append(
      Segment(
        first: first,
        previousTerm: state.last.term,
        path: path,
        file: file,
        end: Int64(header.count),
        last: state.last.index,
        lastMilliseconds: 0,
        offsets: []
      )
    )
  }
}

extension DiskFile {
  /// Writes an array at `offset`.
  func writeAll(_ bytes: [UInt8], at offset: Int64) throws(StoreError) {
    var failure: StoreError?
    bytes.withUnsafeBytes { raw in
      do throws(StoreError) { try write(raw, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Reads up to `count` bytes at `offset`; fewer at the end of the file.
  func readBytes(_ count: Int, at offset: Int64) throws(StoreError) -> [UInt8] {
    var failure: StoreError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(StoreError) {
        initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
      } catch { failure = error }
    }
    if let failure { throw failure }
    return bytes
  }
}
