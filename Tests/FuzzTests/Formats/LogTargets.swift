import LTX

@testable import Store

/// The log: segments on disk, and entries wherever they come from.
enum LogTargets {
  static let entry = FuzzTarget("log-entry", seeds: entrySeeds) { bytes in
    for isSealed in [false, true] {
      var bytes = bytes
      if isSealed { Seals.segment(&bytes) }
      if let (header, length) = SegmentHeader.decode(bytes) {
        try FuzzFinding.check(
          length <= bytes.count && header.terms.count <= SegmentHeader.maxTerms
            && header.encoded() == Array(bytes.prefix(length)),
          "a segment's header is not what it is encoded as"
        )
      }
      if isSealed { _ = Seals.entry(&bytes, at: 0) }
      guard let (entry, length) = LogEntry.decode(bytes[...]) else { continue }
      try FuzzFinding.check(
        length <= bytes.count && entry.payload.count <= LogFormat.maxEntryBytes,
        "an entry is longer than its bytes, or than any may be"
      )
      let names = [entry.database, String(decoding: entry.payload, as: UTF8.self)]
      try FuzzFinding.check(
        names.prefix(entry.kind == .rename ? 2 : 1).allSatisfy { !"/\($0)/".contains("/../") },
        "an entry names a file outside of the tree: \(names)"
      )
      try FuzzFinding.check(
        entry.id.index.rawValue < .max && entry.id.term.rawValue < .max,
        "nothing can follow the entry \(entry.id)"
      )
    }
  }

  private static func encoded(
    _ kind: LogEntryKind,
    _ index: UInt64,
    term: UInt64 = 1,
    _ database: String = "a.db",
    _ payload: [UInt8] = []
  ) -> [UInt8] {
    var output: [UInt8] = []
    payload.withUnsafeBytes {
      LogEntry.encode(
        kind,
        id: EntryID(term: Term(term), index: LogIndex(index)),
        milliseconds: 1_700_000_000_000,
        database: database,
        payload: $0,
        into: &output
      )
    }
    return output
  }

  @Sendable private static func entrySeeds() -> [[UInt8]] {
    [
      segments()[0], segments()[1], encoded(.rename, 7, "a.db", Array("b.db".utf8)),
      encoded(.transaction, 8, "dir/a.db", [UInt8](repeating: 5, count: 100)), packed(),
    ]
  }

  /// An entry with a packed payload.
  static func packed() -> [UInt8] {
    let plain = encoded(.stage, 9, "a.db", (0..<2000).map { UInt8($0 / 100) })
    var packer = LogPacker()
    var output: [UInt8] = []
    _ = plain.withUnsafeBytes { packer.packFirst($0, into: &output) }
    return output
  }

  /// Two segments that follow each other: entries 1 to 6 and 7 to 9.
  static func segments(_ files: [[UInt8]] = [[1, 2, 3], [4], [], [5, 6]]) -> [[UInt8]] {
    var first = SegmentHeader(first: LogIndex(1), previousTerm: .zero, terms: []).encoded()
    first += encoded(.noOperation, 1, "")
    for (place, file) in files.prefix(4).enumerated() {
      first += encoded(.transaction, UInt64(place) + 2, "a.db", file)
    }
    first += encoded(.rename, 6, "a.db", Array("b.db".utf8))
    let terms = [TermStart(term: Term(1), first: LogIndex(1))]
    var second = SegmentHeader(first: LogIndex(7), previousTerm: Term(1), terms: terms).encoded()
    second += encoded(.noOperation, 7, term: 2, "")
    second += encoded(.stage, 8, term: 2, "b.db", [UInt8](repeating: 0, count: 8) + [9, 9])
    second += encoded(
      .stagedTransaction,
      9,
      term: 2,
      "b.db",
      FuzzInput.big(UInt64(8)) + FuzzInput.big(UInt64(2))
    )
    second += encoded(.drop, 10, term: 2, "b.db")
    return [first, second]
  }

  /// First a byte whose bits say what to put right, then of each segment the first index and its
  /// bytes.
  static let directory = FuzzTarget(
    "log-directory",
    seeds: {
      let segments = Self.segments()
      let both =
        FuzzInput.big(UInt64(1)) + FuzzInput.blocks([segments[0]])
        + FuzzInput.big(UInt64(7)) + FuzzInput.blocks([segments[1]])
      return [[0] + both, [1] + both, [3] + both, [1] + both.prefix(segments[0].count + 10)]
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    let repairs = input.byte()
    let disk = MemoryDisk()
    try putSegments(&input, repairs, disk, "/log")
    do throws(StoreError) {
      let isShort = try disk.list("/log").count <= 2
      let log = try Log.open(directory: "/log", disk: disk, clock: StillClock())
      try walk(log)
      try extend(log)
      // Of more than two segments the older ones are only looked at when they are read.
      guard isShort else { return }
      let again = try Log.open(directory: "/log", disk: disk, clock: StillClock())
      guard again.last == log.last else {
        throw StoreError(.invalid, "a finding: opened again, the log ends elsewhere")
      }
    } catch {
      if error.message.hasPrefix("a finding") { throw FuzzFinding(error.message) }
    }
  }

  static func putSegments(
    _ input: inout FuzzInput,
    _ repairs: UInt8,
    _ disk: MemoryDisk,
    _ directory: String
  ) throws {
    for _ in 0..<3 where !input.isEmpty {
      let first = input.integer(UInt64.self)
      var bytes = input.block()
      if repairs & 2 != 0 { bytes.put(first, at: 16) }
      if repairs & 1 != 0 { Seals.segment(&bytes) }
      try disk.put(directory + "/" + Segment.fileName(LogIndex(first)), bytes)
    }
  }

  /// Everything that reads a log.
  private static func walk(_ log: Log) throws(StoreError) {
    let summary = log.summary()
    _ = log.usage()
    var next = summary.first
    // Far more than the entries that fit an input.
    for _ in 0..<512 where next <= summary.last.index {
      _ = log.term(at: next)
      _ = try? log.entry(at: next)
      _ = try? log.read(from: next, maxBytes: 1000)
      next = LogIndex(next.rawValue &+ 1)
    }
    let before = LogIndex(summary.first.rawValue &- 1)
    try? log.forEach(after: before, through: summary.last.index) { (entry) throws(StoreError) in
      guard entry.kind == .transaction || entry.kind == .stagedTransaction else { return }
      var payload = try TransactionPayload(entry, log: log)
      var buffer = [UInt8](repeating: 0, count: 512)
      var failure: LTXError?
      var count = 1
      while count > 0, failure == nil {
        buffer.withUnsafeMutableBytes { raw in
          do throws(LTXError) { count = try payload.read(into: raw) } catch { failure = error }
        }
      }
    }
  }

  /// The log goes on from where it was found to end, and can be cut back to there.
  private static func extend(_ log: Log) throws(StoreError) {
    let last = log.last
    try log.begin(Term(last.term.rawValue + 1))
    let index = try log.append(.transaction, database: "x", bytes: [1, 2, 3])
    let entry = try log.entry(at: index)
    guard Array(entry.payload) == [1, 2, 3], index == last.index.next.next else {
      throw StoreError(.invalid, "a finding: an entry behind a found log is not read back")
    }
    try log.cut(after: last.index, keep: { _ in }, before: {})
    try log.trim(before: last.index)
  }
}

/// A clock that does not move.
struct StillClock: WallClock {
  var milliseconds: UInt64 { 1_700_000_000_000 }
}
