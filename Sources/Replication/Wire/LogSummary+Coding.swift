import LTX
import NIOCore
import Store

extension LogSummary {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(first.rawValue)
    buffer.writeEntry(last)
    let starts = terms.suffix(WireLimit.termStarts)
    buffer.writeInteger(UInt32(starts.count))
    for start in starts {
      buffer.writeInteger(start.term.rawValue)
      buffer.writeInteger(start.first.rawValue)
    }
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let first = try reader.index()
    let last = try reader.entry()
    guard first <= last.index.next else {
      throw ReplicationError(.malformed, "A log begins after its end.")
    }
    let count = try reader.count(max: WireLimit.termStarts, elementSize: 16)
    var terms: [TermStart] = []
    terms.reserveCapacity(count)
    for _ in 0..<count {
      let term = try reader.term()
      let start = TermStart(term: term, first: try reader.index())
      if let previous = terms.last, start.term <= previous.term || start.first <= previous.first {
        throw ReplicationError(.malformed, "The terms of a log are not in order.")
      }
      terms.append(start)
    }
    if let latest = terms.last {
      // A log that was just emptied knows the term of its base and may place its start after it.
      guard latest.term <= last.term, latest.first <= last.index.next else {
        throw ReplicationError(.malformed, "A term of a log begins after the log's end.")
      }
    }
    self.init(first: first, last: last, terms: terms)
  }
}

extension DatabaseSummary {
  /// Bytes of the encoding with an empty name.
  static let smallestSize = 26

  func encode(into buffer: inout ByteBuffer) {
    buffer.writeText(name, max: WireLimit.database)
    buffer.writeInteger(position.txid.rawValue)
    buffer.writeInteger(position.checksum.rawValue)
    buffer.writeInteger(pageSize)
    buffer.writeInteger(pages)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let name = try reader.databaseName()
    let position = try reader.position()
    let pageSize = try reader.integer(UInt32.self)
    self.init(
      name: name,
      position: position,
      pageSize: pageSize,
      pages: try reader.integer()
    )
  }
}

extension WireReader {
  /// A name that leads to a file of the tree and nowhere else.
  mutating func databaseName() throws(ReplicationError) -> String {
    let name = try text(max: WireLimit.database)
    guard LogFormat.isBelowTree(name.utf8) else {
      throw ReplicationError(.malformed, "A message names an impossible database.")
    }
    return name
  }

  mutating func position() throws(ReplicationError) -> Position {
    let txid = try integer(UInt64.self)
    return Position(txid: TXID(txid), checksum: Checksum(rawValue: try integer()))
  }
}

extension CatchUpPlan {
  private static let streamTag: UInt8 = 1
  private static let truncateTag: UInt8 = 2
  private static let resetTag: UInt8 = 3

  func encode(into buffer: inout ByteBuffer) {
    switch self {
    case .stream(let common):
      buffer.writeInteger(Self.streamTag)
      buffer.writeEntry(EntryID(term: .zero, index: common))
    case .truncate(let common):
      buffer.writeInteger(Self.truncateTag)
      buffer.writeEntry(EntryID(term: .zero, index: common))
    case .reset(let base):
      buffer.writeInteger(Self.resetTag)
      buffer.writeEntry(base)
    }
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let tag = try reader.integer(UInt8.self)
    let entry = try reader.entry()
    switch tag {
    case Self.streamTag: self = .stream(after: entry.index)
    case Self.truncateTag: self = .truncate(after: entry.index)
    case Self.resetTag: self = .reset(base: entry)
    default: throw ReplicationError(.malformed, "A welcome has an unknown plan.")
    }
  }
}
