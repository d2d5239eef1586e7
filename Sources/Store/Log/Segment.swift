import LTX

// A segment is an append-only file `<first index, 16 hex digits>.log` with consecutive entries:
//
//   0       8     "HALITLOG"
//   8       4     version: 1, or 2 where the entries have been packed as far as that pays
//   12      4     length of this header in bytes
//   16      8     index of the first entry
//   24      8     term of the entry before it, zero for none
//   32      4     number of term starts known when the segment was begun
//   36      16*n  term, first index
//   end-8   8     CRC-64/ISO of everything before it
//
// The list of term starts spares opening the log from reading older segments.

/// The head of a segment file.
struct SegmentHeader: Equatable {
  static let magic: [UInt8] = Array("HALITLOG".utf8)
  static let version: UInt32 = 1
  static let packedVersion: UInt32 = 2
  static let fixedBytes = 36
  /// Older term starts are dropped; a replica further behind gets snapshots.
  static let maxTerms = 1024
  static let maxBytes = fixedBytes + 16 * maxTerms + 8

  var first: LogIndex
  var previousTerm: Term
  var terms: [TermStart]
  var isPacked = false

  func encoded() -> [UInt8] {
    let terms = terms.suffix(Self.maxTerms)
    var bytes = Self.magic
    bytes.appendBigEndian(isPacked ? Self.packedVersion : Self.version)
    bytes.appendBigEndian(UInt32(Self.fixedBytes + 16 * terms.count + 8))
    bytes.appendBigEndian(first.rawValue)
    bytes.appendBigEndian(previousTerm.rawValue)
    bytes.appendBigEndian(UInt32(terms.count))
    for start in terms {
      bytes.appendBigEndian(start.term.rawValue)
      bytes.appendBigEndian(start.first.rawValue)
    }
    var crc = CRC64()
    bytes.withUnsafeBytes { crc.update($0) }
    bytes.appendBigEndian(crc.value)
    return bytes
  }

  /// - Returns: nil when the bytes are not a whole, intact header.
  static func decode(_ bytes: [UInt8]) -> (header: SegmentHeader, length: Int)? {
    bytes.withUnsafeBytes { raw -> (header: SegmentHeader, length: Int)? in
      guard raw.count >= fixedBytes + 8, raw.prefix(8).elementsEqual(magic) else { return nil }
      let found = raw.bigEndian(UInt32.self, at: 8)
      guard found == version || found == packedVersion else { return nil }
      let length = Int(raw.bigEndian(UInt32.self, at: 12))
      let count = Int(raw.bigEndian(UInt32.self, at: 32))
      guard count <= maxTerms, length == fixedBytes + 16 * count + 8, length <= raw.count
      else { return nil }
      var crc = CRC64()
      crc.update(UnsafeRawBufferPointer(rebasing: raw[0..<(length - 8)]))
      guard crc.value == raw.bigEndian(UInt64.self, at: length - 8) else { return nil }
      let terms = (0..<count).map { k in
        TermStart(
          term: Term(raw.bigEndian(UInt64.self, at: fixedBytes + 16 * k)),
          first: LogIndex(raw.bigEndian(UInt64.self, at: fixedBytes + 16 * k + 8))
        )
      }
      let header = SegmentHeader(
        first: LogIndex(raw.bigEndian(UInt64.self, at: 16)),
        previousTerm: Term(raw.bigEndian(UInt64.self, at: 24)),
        terms: terms,
        isPacked: found == packedVersion
      )
      return header.isPossible ? (header, length) : nil
    }
  }

  /// Whether a log can have been in this state: terms that grow, begun before the first entry, the
  /// last of them that of the entry before.
  private var isPossible: Bool {
    guard first > .zero, first.rawValue <= LogFormat.maxNumber,
      previousTerm == terms.last?.term ?? .zero, previousTerm.rawValue <= LogFormat.maxNumber
    else { return false }
    return zip(terms, terms.dropFirst()).allSatisfy { $0.term < $1.term && $0.first < $1.first }
      && terms.allSatisfy { $0.first < first }
  }
}

/// One segment as the log keeps it in memory.
struct Segment: Sendable {
  /// Entries between two remembered offsets: a look-up reads at most this many headers.
  static let indexEvery: UInt64 = 64

  var first: LogIndex
  var previousTerm: Term
  var path: String
  var file: any DiskFile
  /// Bytes of the file that hold the header and whole entries.
  var end: Int64
  /// The last entry; one before `first` while there is none.
  var last: LogIndex
  /// Milliseconds since the epoch of the last entry; zero when not known.
  var lastMilliseconds: UInt64
  /// Offsets of entries `first`, `first + indexEvery`, …, as far as known.
  var offsets: [Int64]
  /// Whether there is nothing left to pack.
  var isPacked = false
  /// Where the zeros end that were written ahead of the entries; up to `end` there are none.
  var room: Int64 = 0
  /// Where the entries ended after the last sync, or somewhat later.
  var syncedEnd: Int64 = 0

  /// What a segment that is being written anew is called.
  static let temporarySuffix = ".tmp"

  var count: UInt64 { last.rawValue &+ 1 &- first.rawValue }

  /// A segment's file of which no entry has been read yet; nil where its header is not whole, or is
  /// that of another segment.
  static func open(
    _ first: LogIndex,
    _ path: String,
    _ file: any DiskFile
  ) throws(StoreError) -> (segment: Segment, header: SegmentHeader)? {
    guard
      let (header, length) = SegmentHeader.decode(
        try file.readBytes(SegmentHeader.maxBytes, at: 0)
      ), header.first == first
    else { return nil }
    let segment = Segment(
      first: first,
      previousTerm: header.previousTerm,
      path: path,
      file: file,
      end: Int64(length),
      last: LogIndex(first.rawValue &- 1),
      lastMilliseconds: 0,
      offsets: [],
      isPacked: header.isPacked
    )
    return (segment, header)
  }

  static func fileName(_ first: LogIndex) -> String {
    hexadecimal(first.rawValue) + ".log"
  }

  /// The first index that a segment's file name tells, or nil for another file.
  static func firstIndex(ofName name: String) -> LogIndex? {
    guard name.hasSuffix(".log"), name.utf8.count == 20,
      let value = UInt64(name.dropLast(4), radix: 16)
    else { return nil }
    return LogIndex(value)
  }

  /// Notes an entry that was written at `offset`.
  mutating func note(_ index: LogIndex, at offset: Int64) {
    if (index.rawValue - first.rawValue) % Self.indexEvery == 0 {
      offsets.append(offset)
    }
  }
}
