import Synchronization

// Entries of a primary: many come at once, and one write takes as many of them as it can.

extension Log {
  /// An entry, and the bytes that it was decoded from.
  typealias EncodedEntry = (entry: LogEntry, bytes: ArraySlice<UInt8>)

  /// Appends entries of a primary, after checking that they continue this log.
  ///
  /// - Parameter term: that of the primary, which may be later than any entry's; nil where only one node
  ///   can be the primary.
  /// - Throws: with nothing appended when an entry is damaged or does not follow; when the disk
  ///   refuses, `last` tells how far it came.
  package func append(_ batch: LogBatch, under term: Term? = nil) throws(StoreError) {
    try append(entries(of: batch)[...], under: term)
  }

  /// The entries of a batch that continues this log, without the pages in them, which may be far larger than packed.
  func entries(of batch: LogBatch) throws(StoreError) -> [EncodedEntry] {
    var previous = last
    var entries: [EncodedEntry] = []
    var remaining = batch.bytes[...]
    while !remaining.isEmpty {
      guard let (entry, length) = LogEntry.decode(remaining) else {
        throw StoreError(
          .corrupt,
          "a log entry from the primary is damaged or cut short; it is asked for again"
        )
      }
      guard entry.id.index == previous.index.next, entry.id.term >= previous.term else {
        throw doesNotFollow(entry.id, previous)
      }
      entries.append((entry.withoutPages, remaining.prefix(length)))
      previous = entry.id
      remaining = remaining.dropFirst(length)
    }
    return entries
  }

  /// Appends what `entries(of:)` has returned.
  func append(
    _ entries: ArraySlice<EncodedEntry>,
    under term: Term?
  ) throws(StoreError) {
    var rest = entries
    var wake: [@Sendable () -> Void] = []
    defer { for call in wake { call() } }
    while !rest.isEmpty {
      let result: Result<Int, StoreError> = state.withLock { state in
        do throws(StoreError) {
          let count = try appendSome(rest, under: term, &state)
          wake = Array(state.subscribers.values)
          return .success(count)
        } catch { return .failure(error) }
      }
      rest = rest.dropFirst(try result.get())
    }
  }

  /// Appends as many entries as one write can take: those of one segment, and of one block in memory.
  ///
  /// - Returns: their number, at least one.
  private func appendSome(
    _ entries: ArraySlice<EncodedEntry>,
    under term: Term?,
    _ state: inout State
  ) throws(StoreError) -> Int {
    if let failed = state.failed { throw failed }
    if let term { try enter(term, &state) }
    try rotateIfFull(&state)
    var room = segmentBytes - (state.segments.last?.end ?? 0)
    var last = state.last
    var written: [(id: EntryID, range: Range<Int>)] = []
    for (entry, bytes) in entries {
      guard written.isEmpty || room > 0 && state.recent.hasRoom else { break }
      guard entry.id.index == last.index.next, entry.id.term >= last.term else {
        for _ in written { state.recent.removeLast() }
        throw doesNotFollow(entry.id, last)
      }
      written.append(
        (entry.id, state.recent.append(entry.id.index) { $0.append(contentsOf: bytes) })
      )
      room -= Int64(bytes.count)
      last = entry.id
    }
    try write(written, in: &state)
    return written.count
  }

  private func doesNotFollow(_ id: EntryID, _ last: EntryID) -> StoreError {
    StoreError(
      .diverged,
      "entry \(id) of the primary does not follow this node's last, \(last)"
    )
  }
}

extension LogEntry {
  /// The entry with so much of its payload as tells what it does.
  fileprivate var withoutPages: LogEntry {
    var entry = self
    switch kind {
    case .transaction: entry.payload = []
    case .stage: entry.payload = ArraySlice(Array(payload.prefix(8)))
    case .drop, .rename, .noOperation, .stagedTransaction: break
    }
    return entry
  }
}
