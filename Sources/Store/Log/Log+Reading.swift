import Synchronization

extension Log {
  /// Entries from `first` on that are in memory; nil when they are only on disk.
  package func recent(
    from first: LogIndex,
    through limit: LogIndex = .max,
    maxBytes: Int
  ) -> LogBatch? {
    state.withLock { state in
      state.recent.batch(from: first, last: min(state.last.index, limit), maxBytes: maxBytes)
    }
  }

  /// Whole entries from `first` on, from memory or disk, at most `maxBytes` but at least one.
  ///
  /// - Throws: `.notFound` when retention has removed `first`, `.corrupt` when the disk returns
  ///   something that is not an entry.
  package func read(
    from first: LogIndex,
    through limit: LogIndex = .max,
    maxBytes: Int
  ) throws(StoreError) -> LogBatch {
    if let batch = recent(from: first, through: limit, maxBytes: maxBytes) { return batch }
    guard let (place, last) = place(of: first) else {
      throw StoreError(
        .notFound,
        "log entry \(first) is no longer held; the reader needs a snapshot"
      )
    }
    // Room for the first entry however long it is, and for no more than was asked for.
    let head = try place.file.readBytes(LogFormat.headerBytes, at: place.offset)
    guard let length = head.withUnsafeBytes({ LogEntryHeader($0)?.length }) else {
      throw damaged(place.path, first)
    }
    let bytes = try place.file.readBytes(
      min(max(maxBytes, length), Int(place.end - place.offset)),
      at: place.offset
    )
    var next = place.index
    var start = 0
    var end = 0
    while end < bytes.count, next <= min(last, limit) {
      let header = bytes.withUnsafeBytes {
        LogEntryHeader(UnsafeRawBufferPointer(rebasing: $0[end...]))
      }
      guard let header else {
        if bytes.count - end < LogFormat.headerBytes { break }
        throw damaged(place.path, next)
      }
      guard header.id.index == next else { throw damaged(place.path, next) }
      guard end + header.length <= bytes.count else { break }
      if next < first {
        start = end + header.length
      } else if end + header.length - start > maxBytes, end > start {
        break
      }
      end += header.length
      next = next.next
    }
    guard end > start, next > first else { throw damaged(place.path, first) }
    return LogBatch(
      first: first,
      last: LogIndex(next.rawValue - 1),
      bytes: Array(bytes[start..<end])
    )
  }

  /// Decodes each entry in `(after, through]`, in order.
  package func forEach(
    after: LogIndex,
    through: LogIndex,
    _ body: (LogEntry) throws(StoreError) -> Void
  ) throws(StoreError) {
    var next = after.next
    while next <= through {
      let batch = try read(from: next, maxBytes: 1 << 20)
      guard !batch.bytes.isEmpty else {
        throw StoreError(.notFound, "log entry \(next) is not there yet")
      }
      var remaining = batch.bytes[...]
      while !remaining.isEmpty, next <= through {
        guard let (entry, length) = LogEntry.decode(remaining) else {
          throw damaged(directory, next)
        }
        try body(entry)
        remaining = remaining.dropFirst(length)
        next = next.next
      }
    }
  }

  /// One entry.
  package func entry(at index: LogIndex) throws(StoreError) -> LogEntry {
    guard let entry = try entries(from: index, through: index, maxBytes: 1).first else {
      throw damaged(directory, index)
    }
    return entry
  }

  /// Entries from `first` on, at most `maxBytes` of them, packed or not, but at least one; those before a
  /// damaged one, unless that is the first.
  func entries(
    from first: LogIndex,
    through last: LogIndex,
    maxBytes: Int
  ) throws(StoreError) -> [LogEntry] {
    var remaining = try read(from: first, through: last, maxBytes: maxBytes).bytes[...]
    var entries: [LogEntry] = []
    var size = 0
    while !remaining.isEmpty, size < maxBytes {
      guard let (entry, length) = LogEntry.decode(remaining) else {
        guard entries.isEmpty else { break }
        throw damaged(directory, first)
      }
      entries.append(entry)
      size += entry.payload.count
      remaining = remaining.dropFirst(length)
    }
    return entries
  }

  private func damaged(_ path: String, _ index: LogIndex) -> StoreError {
    StoreError(
      .corrupt,
      "the log at \(path) is damaged at entry \(index); remove this node's data directory and "
        + "let it fetch everything from the primary"
    )
  }

  struct Place {
    var file: any DiskFile
    var path: String
    /// The entry that begins at `offset`, at or before the one looked for.
    var index: LogIndex
    var offset: Int64
    var end: Int64
  }

  /// A place in a file from which the entry is reached within a few entries.
  func place(of index: LogIndex) -> (place: Place, last: LogIndex)? {
    let segment = state.withLock { state -> Segment? in
      state.segments.last { $0.first <= index && index <= $0.last }
    }
    guard var segment else { return nil }
    if segment.offsets.isEmpty { segment.offsets = scanOffsets(segment) }
    let slot = Int((index.rawValue - segment.first.rawValue) / Segment.indexEvery)
    guard slot < segment.offsets.count else { return nil }
    let at = LogIndex(segment.first.rawValue + UInt64(slot) * Segment.indexEvery)
    // Walk on to the entry itself, so that the read that follows begins with it.
    var place = Place(
      file: segment.file,
      path: segment.path,
      index: at,
      offset: segment.offsets[slot],
      end: segment.end
    )
    while place.index < index {
      guard
        let bytes = try? segment.file.readBytes(LogFormat.headerBytes, at: place.offset),
        let header = bytes.withUnsafeBytes({ LogEntryHeader($0) })
      else { return nil }
      place.offset += Int64(header.length)
      place.index = place.index.next
    }
    return (place, segment.last)
  }

  /// Builds the sparse offsets of a segment that was written by an earlier process.
  private func scanOffsets(_ segment: Segment) -> [Int64] {
    var scanned = segment
    scanned.offsets = []
    var offset = Int64(0)
    guard let head = try? segment.file.readBytes(SegmentHeader.maxBytes, at: 0),
      let (_, length) = SegmentHeader.decode(head)
    else { return [] }
    offset = Int64(length)
    var index = segment.first
    while offset < segment.end, index <= segment.last {
      guard let bytes = try? segment.file.readBytes(LogFormat.headerBytes, at: offset),
        let header = bytes.withUnsafeBytes({ LogEntryHeader($0) }), header.id.index == index
      else { return [] }
      scanned.note(index, at: offset)
      offset += Int64(header.length)
      index = index.next
    }
    state.withLock { state in
      if let at = state.segments.firstIndex(where: { $0.first == segment.first }) {
        if state.segments[at].offsets.isEmpty { state.segments[at].offsets = scanned.offsets }
      }
    }
    return scanned.offsets
  }
}
