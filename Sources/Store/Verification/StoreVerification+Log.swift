import LTX

extension StoreVerification {
  private static let subject = "log"

  /// Reads every segment and every entry, and every transaction in them.
  mutating func verifyLog(_ records: [DatabaseRecord]) throws(StoreError) {
    let directory = configuration.logDirectory
    let before = findings.count
    var segments: [Segment] = []
    if try disk.information(directory) != nil {
      let firsts = try disk.list(directory).compactMap(Segment.firstIndex(ofName:)).sorted()
      for (position, first) in firsts.enumerated() {
        let isLast = position >= firsts.count - 2
        guard let segment = try readSegment(first, mayBeTorn: isLast) else { break }
        if let previous = segments.last, previous.last.next != first {
          note(
            Self.subject,
            isLast ? .notable : .damaged,
            "between entry \(previous.last) and \(segment.path) entries are missing",
            remedy: isLast
              ? "start the node: it goes on from entry \(previous.last)"
              : VerificationFinding.Remedy.fetch
          )
          break
        }
        segments.append(segment)
      }
    }
    let last = segments.last?.last ?? .zero
    let log = Log(
      directory: directory,
      disk: disk,
      clock: StoppedClock(),
      segmentBytes: .max,
      state: Log.State(
        segments: segments,
        last: EntryID(term: segments.last?.previousTerm ?? .zero, index: last),
        terms: []
      )
    )
    if let first = segments.first?.first, first <= last {
      try verifyTransactions(log, first, last)
    }
    let ahead = records.filter { $0.entry > last }
    if let record = ahead.first {
      note(
        Self.subject,
        .damaged,
        "it ends at entry \(last), but database \(record.name) has entry \(record.entry)",
        remedy: VerificationFinding.Remedy.fetch
      )
    }
    if findings.count == before {
      let count = segments.reduce(UInt64(0)) { $0 + $1.count }
      note(Self.subject, .sound, "\(count) entries in \(segments.count) segments, to \(last)")
    }
  }

  /// Reads a segment to its end, or to the first entry that is not whole.
  ///
  /// - Returns: nil when what follows it cannot be read either.
  private mutating func readSegment(
    _ first: LogIndex,
    mayBeTorn: Bool
  ) throws(StoreError) -> Segment? {
    let path = configuration.logDirectory + "/" + Segment.fileName(first)
    let file = try disk.open(path, [])
    let size = try file.information().size
    guard let (begun, header) = try Segment.open(first, path, file) else {
      let isBegun = mayBeTorn && size <= Int64(SegmentHeader.maxBytes)
      note(
        Self.subject,
        isBegun ? .notable : .damaged,
        "the header of \(path) is damaged",
        remedy: isBegun
          ? "start the node: it makes the segment anew if no entry was in it"
          : VerificationFinding.Remedy.fetch
      )
      return nil
    }
    var segment = begun
    var term = header.previousTerm
    var buffer: ArraySlice<UInt8> = []
    while segment.end < size {
      if buffer.count < LogFormat.maxEntryBytes, segment.end + Int64(buffer.count) < size {
        let at = segment.end + Int64(buffer.count)
        buffer = (Array(buffer) + (try file.readBytes(8 << 20, at: at)))[...]
      }
      guard let (entry, length) = LogEntry.decode(buffer), entry.id.index == segment.last.next,
        entry.id.term >= term
      else {
        noteBroken(segment, buffer, size, mayBeTorn: mayBeTorn)
        return mayBeTorn ? segment : nil
      }
      term = entry.id.term
      segment.note(entry.id.index, at: segment.end)
      segment.last = entry.id.index
      segment.end += Int64(length)
      buffer = buffer.dropFirst(length)
      advance(Int64(length) / 2)
    }
    return segment
  }

  /// Says what the first entry that is not whole means: a crash can have torn the last ones, those that were not
  /// synced, in any order. Whether one was that counted, the databases' own records tell.
  private mutating func noteBroken(
    _ segment: Segment,
    _ buffer: ArraySlice<UInt8>,
    _ size: Int64,
    mayBeTorn: Bool
  ) {
    let index = segment.last.next
    // Room that was written ahead (`Log.makeRoom`) when the node was killed.
    if mayBeTorn, buffer.allSatisfy({ $0 == 0 }), segment.end + Int64(buffer.count) == size {
      return
    }
    let rest = size - segment.end
    let hasMore = mayBeTorn && Self.holdsEntry(buffer.dropFirst(), after: index)
    note(
      Self.subject,
      mayBeTorn ? .notable : .damaged,
      mayBeTorn
        ? "\(segment.path) ends with \(rest) bytes that are no whole entry, as a crash leaves them"
          + (hasMore ? ", and among them entries later than \(index)" : "")
        : "entry \(index) in \(segment.path) is damaged, at byte \(segment.end)",
      remedy: mayBeTorn
        ? "start the node: it cuts them off" : VerificationFinding.Remedy.fetch
    )
  }

  /// Whether a whole entry later than this one begins anywhere in the bytes.
  private static func holdsEntry(_ bytes: ArraySlice<UInt8>, after index: LogIndex) -> Bool {
    var rest = bytes
    while rest.count >= LogFormat.headerBytes {
      let header = rest.withUnsafeBytes { LogEntryHeader($0) }
      if let header, header.id.index > index, LogEntry.decode(rest) != nil { return true }
      rest = rest.dropFirst()
    }
    return false
  }

  /// Reads all transactions and follows each database through them.
  private mutating func verifyTransactions(
    _ log: Log,
    _ first: LogIndex,
    _ last: LogIndex
  ) throws(StoreError) {
    var index = first
    while index <= last {
      let batch = try log.read(from: index, maxBytes: 1 << 20)
      var remaining = batch.bytes[...]
      while let (entry, length) = LogEntry.decode(remaining) {
        try follow(entry, log, first)
        remaining = remaining.dropFirst(length)
        advance(Int64(length) - Int64(length) / 2)
      }
      index = batch.last.next
    }
  }

  private mutating func follow(
    _ entry: LogEntry,
    _ log: Log,
    _ first: LogIndex
  ) throws(StoreError) {
    switch entry.kind {
    case .noOperation, .stage: break
    case .drop: histories[entry.database] = nil
    case .rename:
      var history = histories.removeValue(forKey: entry.database)
      history?.renamed(at: entry.id.index)
      histories[String(decoding: entry.payload, as: UTF8.self)] = history
    case .transaction, .stagedTransaction:
      // Retention may have taken the first parts of a large one.
      if entry.kind == .stagedTransaction, entry.payload.count == 16,
        entry.payload.withUnsafeBytes({ $0.bigEndian(UInt64.self, at: 0) }) < first.rawValue
      {
        histories[entry.database] = nil
        return
      }
      try followTransaction(entry, log)
    }
  }

  private mutating func followTransaction(_ entry: LogEntry, _ log: Log) throws(StoreError) {
    var digests: [PageDigest] = []
    do throws(StoreError) {
      var decoder = try TransactionPlan.decoder(entry, log: log)
      try TransactionPlan.forEach(&decoder, entry.database) { (digest, _) throws(StoreError) in
        digests.append(digest)
      }
      let post = decoder.trailer?.postApply ?? .none
      let problem = histories[entry.database, default: LoggedHistory()]
        .add(decoder.header, digests, post, at: entry.id.index)
      guard let problem else { return }
      note(
        Self.subject,
        .damaged,
        "entry \(entry.id.index), database \(entry.database): \(problem)",
        remedy: VerificationFinding.Remedy.fetch
      )
    } catch {
      guard error.code == .corrupt else { throw error }
      histories[entry.database] = nil
      note(
        Self.subject,
        .damaged,
        "entry \(entry.id.index) holds no valid transaction of database \(entry.database)",
        remedy: VerificationFinding.Remedy.fetch
      )
    }
  }
}

/// Nothing is written, so that no time is told.
private struct StoppedClock: WallClock {
  var milliseconds: UInt64 { 0 }
}
