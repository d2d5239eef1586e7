import LTX

/// The LTX file of a transaction entry, read from the log: from the entry itself, or from the parts
/// that were staged before it. Only one part is in memory at a time.
struct TransactionPayload: LTXByteSource {
  private let log: Log
  private let database: String
  /// Bytes at hand, and how many of them have been given out.
  private var part: ArraySlice<UInt8>
  /// Where the next part is looked for; nil when there is none.
  private var next: LogIndex?
  private var firstPart = LogIndex.zero
  private var last = LogIndex.zero
  private var missing: UInt64 = 0

  /// - Precondition: the entry is a transaction.
  /// - Throws: `.corrupt` when a staged entry does not say what it should.
  init(_ entry: LogEntry, log: Log) throws(StoreError) {
    self.log = log
    database = entry.database
    if entry.kind == .transaction {
      part = entry.payload
      return
    }
    part = []
    let (first, bytes) = entry.payload.withUnsafeBytes { raw -> (UInt64, UInt64) in
      guard raw.count == 16 else { return (0, 0) }
      return (raw.bigEndian(UInt64.self, at: 0), raw.bigEndian(UInt64.self, at: 8))
    }
    guard first > 0, first < entry.id.index.rawValue else {
      throw StoreError(.corrupt, "entry \(entry.id) names no staged transaction")
    }
    firstPart = LogIndex(first)
    next = firstPart
    last = entry.id.index
    missing = bytes
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(LTXError) -> Int {
    while part.isEmpty {
      guard missing > 0, let index = next else { return 0 }
      do throws(StoreError) {
        try advance(from: index)
      } catch {
        throw LTXError(.unreadable, "a staged transaction cannot be read", cause: error)
      }
    }
    let count = min(buffer.count, part.count)
    buffer.copyBytes(from: part.prefix(count))
    part = part.dropFirst(count)
    return count
  }

  /// Goes on to the next part of this transaction; entries of others lie between.
  private mutating func advance(from index: LogIndex) throws(StoreError) {
    var at = index
    while at < last {
      let entry = try log.entry(at: at)
      at = at.next
      guard entry.kind == .stage, entry.database == database, entry.payload.count >= 8 else {
        continue
      }
      let first = entry.payload.withUnsafeBytes { $0.bigEndian(UInt64.self, at: 0) }
      let belongs = entry.id.index == firstPart ? first == 0 : first == firstPart.rawValue
      guard belongs else { continue }
      part = entry.payload.dropFirst(8)
      next = at
      guard UInt64(part.count) <= missing else {
        throw StoreError(.corrupt, "staged entry \(entry.id) holds more than was announced")
      }
      missing -= UInt64(part.count)
      return
    }
    throw StoreError(.corrupt, "a staged transaction of database \(database) lacks its end")
  }
}
