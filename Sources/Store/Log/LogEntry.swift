import LTX

// The encoded form of one entry of the log. All integers are big-endian.
//
//   offset  size  field
//   0       4     length of the whole entry in bytes, this field and the checksum included
//   4       1     version of this encoding, 1
//   5       1     kind
//   6       2     flags: 0x0001 = the payload is packed
//   8       8     term
//   16      8     index
//   24      8     milliseconds since the epoch, by the primary's clock
//   32      2     length of the database's name in bytes
//   34      n     name of the database, UTF-8; empty where the kind has none
//   34+n    m     payload
//   end-8   8     CRC-64/ISO of everything before it
//
// A packed payload is the number of bytes it expands to (4 bytes), and these as an LZ4 block.
//
// The same bytes stand in the segments on disk, in the memory of recent entries and on the wire,
// so that an entry is encoded once, by the primary, and checked wherever it is read. Only packing writes
// one anew, see `LogPacker`.

/// What an entry does.
package enum LogEntryKind: UInt8, Sendable {
  /// Payload: an LTX file.
  case transaction = 1
  /// The database is gone. No payload.
  case drop = 2
  /// Payload: the new name, UTF-8.
  case rename = 3
  /// Opens a term. No payload, no name.
  case noOperation = 4
  /// A part of a large LTX file: `u64` index of the first part (zero in the first), then bytes.
  case stage = 5
  /// Commits a large LTX file: `u64` index of its first part, `u64` number of bytes in all.
  case stagedTransaction = 6

  /// Whether the payload may be packed: where it is pages.
  var isPackable: Bool { self == .transaction || self == .stage }
}

/// One decoded entry. `payload` is a slice of the bytes it was decoded from, or was unpacked from them.
package struct LogEntry: Sendable {
  package var id: EntryID
  package var kind: LogEntryKind
  package var milliseconds: UInt64
  package var database: String
  package var payload: ArraySlice<UInt8>
}

package enum LogFormat {
  /// Bytes before the name.
  static let headerBytes = 34
  static let checksumBytes = 8
  static let version: UInt8 = 1
  /// The flag of an entry whose payload is packed.
  static let packed: UInt16 = 1
  /// An entry is never longer: a transaction above `stageAbove` travels in parts.
  package static let maxEntryBytes = 4 << 20
  /// Bytes of an LTX file above which it is staged.
  static let stageAbove = 1 << 20
  /// Bytes of one staged part: small enough that another commit never waits long behind it.
  static let stageBytes = 256 << 10
  /// SQLite's own limit on a path is lower on every system it runs on.
  package static let maxNameBytes = 4096
  /// The highest term and index: far above any real one, and low enough that the next of either
  /// can always be named.
  static let maxNumber: UInt64 = 1 << 62

  /// Whether bytes are the name of a file in the tree, and lead nowhere else: names become paths.
  package static func isBelowTree(_ name: some Collection<UInt8>) -> Bool {
    guard !name.contains(0) else { return false }
    return name.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy {
      !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
    }
  }
}

/// Reads and checks the fixed part of an entry.
struct LogEntryHeader {
  var length: Int
  var kind: LogEntryKind
  var isPacked: Bool
  var id: EntryID
  var milliseconds: UInt64
  var nameLength: Int

  /// Where the payload ends and the checksum begins.
  var payloadEnd: Int { length - LogFormat.checksumBytes }
  /// Where the payload begins.
  var payloadStart: Int { LogFormat.headerBytes + nameLength }

  /// - Parameter bytes: at least `LogFormat.headerBytes`.
  /// - Returns: nil where the bytes cannot begin an entry.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= LogFormat.headerBytes else { return nil }
    let length = Int(bytes.bigEndian(UInt32.self, at: 0))
    let nameLength = Int(bytes.bigEndian(UInt16.self, at: 32))
    guard bytes[4] == LogFormat.version, let kind = LogEntryKind(rawValue: bytes[5]),
      nameLength <= LogFormat.maxNameBytes, length <= LogFormat.maxEntryBytes,
      length >= LogFormat.headerBytes + nameLength + LogFormat.checksumBytes
    else { return nil }
    let flags = bytes.bigEndian(UInt16.self, at: 6)
    guard flags == 0 || (flags == LogFormat.packed && kind.isPackable) else { return nil }
    isPacked = flags == LogFormat.packed
    self.length = length
    self.kind = kind
    self.nameLength = nameLength
    let term = bytes.bigEndian(UInt64.self, at: 8)
    let index = bytes.bigEndian(UInt64.self, at: 16)
    guard term <= LogFormat.maxNumber, index <= LogFormat.maxNumber else { return nil }
    id = EntryID(term: Term(term), index: LogIndex(index))
    milliseconds = bytes.bigEndian(UInt64.self, at: 24)
  }

  /// Whether the entry that begins the bytes is there as a whole and as it was written.
  func isIntact(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard length <= bytes.count else { return false }
    var crc = CRC64()
    crc.update(UnsafeRawBufferPointer(rebasing: bytes[0..<payloadEnd]))
    return crc.value == bytes.bigEndian(UInt64.self, at: payloadEnd)
  }
}

extension LogEntry {
  /// Decodes the entry at the beginning of `bytes`.
  ///
  /// - Returns: nil when the bytes are cut short or fail their checksum.
  package static func decode(_ bytes: ArraySlice<UInt8>) -> (entry: LogEntry, length: Int)? {
    let start = bytes.startIndex
    return bytes.withUnsafeBytes { raw -> (entry: LogEntry, length: Int)? in
      guard let header = LogEntryHeader(raw), header.isIntact(raw) else { return nil }
      let body = header.payloadEnd
      let nameEnd = header.payloadStart
      guard
        header.kind == .noOperation
          ? header.nameLength == 0 : LogFormat.isBelowTree(raw[LogFormat.headerBytes..<nameEnd]),
        header.kind != .rename || LogFormat.isBelowTree(raw[nameEnd..<body])
      else { return nil }
      let name = String(decoding: raw[LogFormat.headerBytes..<nameEnd], as: UTF8.self)
      var payload = bytes[(start + nameEnd)..<(start + body)]
      if header.isPacked {
        guard let unpacked = LogPacker.unpack(raw[nameEnd..<body]) else { return nil }
        payload = unpacked[...]
      }
      return (
        LogEntry(
          id: header.id,
          kind: header.kind,
          milliseconds: header.milliseconds,
          database: name,
          payload: payload
        ),
        header.length
      )
    }
  }

  /// Appends the encoded form to `output`.
  ///
  /// - Precondition: name and payload are within `LogFormat`'s bounds.
  static func encode(
    _ kind: LogEntryKind,
    id: EntryID,
    milliseconds: UInt64,
    database: String,
    payload: UnsafeRawBufferPointer,
    into output: inout [UInt8]
  ) {
    let name = database.utf8
    precondition(name.count <= LogFormat.maxNameBytes, "a database name is too long for the log")
    let length = LogFormat.headerBytes + name.count + payload.count + LogFormat.checksumBytes
    precondition(length <= LogFormat.maxEntryBytes, "an entry is too long for the log")
    let start = output.count
    output.appendBigEndian(UInt32(length))
    output.append(LogFormat.version)
    output.append(kind.rawValue)
    output.appendBigEndian(UInt16(0))
    output.appendBigEndian(id.term.rawValue)
    output.appendBigEndian(id.index.rawValue)
    output.appendBigEndian(milliseconds)
    output.appendBigEndian(UInt16(name.count))
    output.append(contentsOf: name)
    output.append(contentsOf: payload)
    var crc = CRC64()
    output.withUnsafeBytes { crc.update(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    output.appendBigEndian(crc.value)
  }
}
