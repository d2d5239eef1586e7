import LTX
import Store

/// An entry of the fakes: one page of one database takes new bytes.
struct FakeEntry: Hashable, Sendable {
  var id: EntryID
  var database: String
  var page: UInt32
  var fill: UInt8
  /// Bytes that only make the entry longer.
  var ballast = 0

  /// Length (4 bytes), term, index, page, fill, length of the name, name, ballast.
  var encoded: [UInt8] {
    let name = Array(database.utf8)
    var bytes: [UInt8] = []
    func add(_ value: UInt64, _ count: Int) {
      for place in (0..<count).reversed() {
        bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * place)))
      }
    }
    add(UInt64(26 + name.count + ballast), 4)
    add(id.term.rawValue, 8)
    add(id.index.rawValue, 8)
    add(UInt64(page), 4)
    bytes.append(fill)
    bytes.append(UInt8(name.count))
    bytes += name
    bytes += [UInt8](repeating: fill, count: ballast)
    return bytes
  }

  static func decode(_ bytes: [UInt8]) throws(StoreError) -> [FakeEntry] {
    var entries: [FakeEntry] = []
    var offset = 0
    func number(_ at: Int, _ count: Int) -> UInt64 {
      bytes[at..<(at + count)].reduce(0) { $0 << 8 | UInt64($1) }
    }
    while offset < bytes.count {
      guard offset + 26 <= bytes.count else { throw StoreError(.corrupt, "short entry") }
      let length = Int(number(offset, 4))
      let nameLength = Int(bytes[offset + 25])
      guard length >= 26 + nameLength, offset + length <= bytes.count else {
        throw StoreError(.corrupt, "bad entry length")
      }
      let nameStart = offset + 26
      entries.append(
        FakeEntry(
          id: EntryID(
            term: Term(number(offset + 4, 8)),
            index: LogIndex(number(offset + 12, 8))
          ),
          database: String(decoding: bytes[nameStart..<(nameStart + nameLength)], as: UTF8.self),
          page: UInt32(number(offset + 20, 4)),
          fill: bytes[offset + 24],
          ballast: length - 26 - nameLength
        )
      )
      offset += length
    }
    return entries
  }
}

/// The pages of a database by their fill byte: enough to tell two states apart.
struct FakeDatabase: Hashable, Sendable {
  static let pageSize = 512
  var pages: [UInt8] = []

  mutating func apply(_ entry: FakeEntry) {
    while pages.count < Int(entry.page) { pages.append(0) }
    pages[Int(entry.page) - 1] = entry.fill
  }

  static func checksum(_ fill: UInt8, page: Int) -> Checksum {
    Checksum(
      rawValue: (UInt64(fill) &+ 1) &* 0x9e37_79b9_7f4a_7c15 &* UInt64(page * 2 + 1)
        | Checksum.flag
    )
  }

  var checksums: [Checksum] {
    pages.enumerated().map { Self.checksum($1, page: $0 + 1) }
  }

  /// The transaction number is not modelled; the checksum covers all pages.
  var position: Position {
    Position(txid: TXID(1), checksum: checksums.reduce(.empty) { $0.toggling($1) })
  }
}

/// A log of the fakes.
struct FakeLog: Sendable {
  /// The entry before the first one held.
  var base = EntryID.zero
  var entries: [FakeEntry] = []
  var terms: [TermStart] = []

  var last: EntryID { entries.last?.id ?? base }
  var summary: LogSummary { LogSummary(first: base.index.next, last: last, terms: terms) }

  mutating func append(_ entry: FakeEntry) {
    if terms.last?.term != entry.id.term {
      terms.append(TermStart(term: entry.id.term, first: entry.id.index))
    }
    entries.append(entry)
  }

  /// Forgets entries up to `index`, as retention does.
  mutating func trim(upTo index: LogIndex) {
    while let first = entries.first, first.id.index <= index {
      base = first.id
      entries.removeFirst()
    }
  }

  mutating func cut(after index: LogIndex) -> [FakeEntry] {
    let cut = entries.filter { $0.id.index > index }
    entries.removeAll { $0.id.index > index }
    terms.removeAll { $0.first > index }
    return cut
  }

  func batch(from first: LogIndex, maxBytes: Int) -> LogBatch? {
    guard first > base.index else { return nil }
    var bytes: [UInt8] = []
    var end = LogIndex(first.rawValue - 1)
    let start = Int(first.rawValue - base.index.rawValue) - 1
    if start < entries.count {
      for entry in entries[start...] {
        let encoded = entry.encoded
        if !bytes.isEmpty, bytes.count + encoded.count > maxBytes { break }
        bytes += encoded
        end = entry.id.index
      }
    }
    return LogBatch(first: first, last: end, bytes: bytes)
  }
}
