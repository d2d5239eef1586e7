import LTX

extension Log {
  /// Opens the log of a directory, or begins one there.
  ///
  /// A torn end (a crash of the machine while entries were on their way to the disk) is cut at the
  /// first entry that is not whole. Only the last two segments can have one, see `rotateIfFull`.
  package static func open(
    directory: String,
    disk: any Disk,
    clock: any WallClock,
    segmentBytes: Int64 = 64 << 20
  ) throws(StoreError) -> Log {
    try disk.makeDirectory(directory)
    var segments: [Segment] = []
    var terms: [TermStart] = []
    let firsts = try segmentFiles(directory, disk)
    for (position, first) in firsts.enumerated() {
      let path = directory + "/" + Segment.fileName(first)
      let file = try disk.open(path, [.write])
      guard let (begun, header) = try Segment.open(first, path, file) else {
        // Durable before an entry follows: torn only where nothing stands behind it.
        let most = SegmentHeader(first: first, previousTerm: .zero, terms: terms).encoded().count
        guard position == firsts.count - 1, try file.information().size <= Int64(most) else {
          throw damagedHeader(path)
        }
        try disk.remove(path)
        break
      }
      var segment = begun
      if position >= firsts.count - 2 {
        terms = header.terms
        try scan(&segment, &terms)
        if position + 1 < firsts.count, segment.last.next != firsts[position + 1] {
          for later in firsts[(position + 1)...] {
            try disk.remove(directory + "/" + Segment.fileName(later))
          }
          segments.append(segment)
          break
        }
      } else {
        let information = try file.information()
        segment.end = information.size
        segment.last = LogIndex(firsts[position + 1].rawValue &- 1)
        segment.lastMilliseconds = UInt64(clamping: information.modified / 1_000_000)
      }
      segments.append(segment)
    }
    var last = EntryID.zero
    if let segment = segments.last {
      let term = terms.last { $0.first <= segment.last }?.term ?? segment.previousTerm
      last = EntryID(term: term, index: segment.last)
      try segment.file.truncate(to: segment.end)
      // A process that was killed may have left entries in the page cache alone.
      try segment.file.sync()
    }
    return Log(
      directory: directory,
      disk: disk,
      clock: clock,
      segmentBytes: segmentBytes,
      state: State(segments: segments, last: last, terms: terms)
    )
  }

  /// The first indices of the segments in a directory, where one that was being written anew is removed.
  private static func segmentFiles(
    _ directory: String,
    _ disk: any Disk
  ) throws(StoreError) -> [LogIndex] {
    let names = try disk.list(directory)
    for name in names where name.hasSuffix(Segment.temporarySuffix) {
      try disk.remove(directory + "/" + name)
    }
    return names.compactMap(Segment.firstIndex(ofName:)).sorted()
  }

  private static func damagedHeader(_ path: String) -> StoreError {
    StoreError(
      .corrupt,
      "log segment \(path) is damaged; remove this node's data directory and let it fetch "
        + "everything from the primary"
    )
  }

  /// Reads a segment to its last whole entry.
  private static func scan(_ segment: inout Segment, _ terms: inout [TermStart]) throws(StoreError)
  {
    let size = try segment.file.information().size
    let step = 8 << 20
    var buffer: ArraySlice<UInt8> = []
    var offset = segment.end
    while true {
      if buffer.count < LogFormat.maxEntryBytes, offset + Int64(buffer.count) < size {
        let at = offset + Int64(buffer.count)
        buffer = (Array(buffer) + (try segment.file.readBytes(step, at: at)))[...]
      }
      guard let (entry, length) = LogEntry.decode(buffer), entry.id.index == segment.last.next
      else { break }
      if entry.id.term > (terms.last?.term ?? .zero) {
        terms.append(TermStart(term: entry.id.term, first: entry.id.index))
      }
      segment.note(entry.id.index, at: offset)
      segment.last = entry.id.index
      segment.lastMilliseconds = entry.milliseconds
      offset += Int64(length)
      buffer = buffer.dropFirst(length)
    }
    segment.end = offset
  }
}
