import LTX
import NIOCore
import Store

/// Reads the fields of a payload; each read is checked, none traps.
struct WireReader {
  /// The highest term or index accepted: far above any real one, and low enough that adding one
  /// never overflows.
  static let maxNumber: UInt64 = 1 << 62

  private var buffer: ByteBuffer

  init(_ buffer: ByteBuffer) { self.buffer = buffer }

  var remaining: Int { buffer.readableBytes }

  private static func early() -> ReplicationError {
    ReplicationError(.malformed, "A message ends early.")
  }

  mutating func integer<T: FixedWidthInteger>(_: T.Type = T.self) throws(ReplicationError) -> T {
    guard let value = buffer.readInteger(as: T.self) else { throw Self.early() }
    return value
  }

  mutating func bytes(_ count: Int) throws(ReplicationError) -> [UInt8] {
    guard count >= 0, let bytes = buffer.readBytes(length: count) else { throw Self.early() }
    return bytes
  }

  mutating func number() throws(ReplicationError) -> UInt64 {
    let value = try integer(UInt64.self)
    guard value <= Self.maxNumber else {
      throw ReplicationError(.malformed, "A message names a term or index out of range.")
    }
    return value
  }

  mutating func index() throws(ReplicationError) -> LogIndex { LogIndex(try number()) }
  mutating func term() throws(ReplicationError) -> Term { Term(try number()) }

  mutating func entry() throws(ReplicationError) -> EntryID {
    let term = try term()
    return EntryID(term: term, index: try index())
  }

  mutating func flag() throws(ReplicationError) -> Bool {
    switch try integer(UInt8.self) {
    case 0: return false
    case 1: return true
    default: throw ReplicationError(.malformed, "A flag is neither 0 nor 1.")
    }
  }

  /// Text with its length in two bytes before it.
  mutating func text(max: Int) throws(ReplicationError) -> String {
    let count = Int(try integer(UInt16.self))
    guard count <= max else {
      throw ReplicationError(.malformed, "A text of \(count) bytes exceeds the bound of \(max).")
    }
    let bytes = try bytes(count)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ReplicationError(.malformed, "A text is not valid UTF-8.")
    }
    return text
  }

  /// A count of elements that take at least `size` bytes each: bounded by the bytes at hand.
  mutating func count(max: Int, elementSize size: Int) throws(ReplicationError) -> Int {
    let count = Int(try integer(UInt32.self))
    guard count <= max, count <= remaining / size else {
      throw ReplicationError(.malformed, "A list of \(count) elements exceeds its message.")
    }
    return count
  }

  func finish() throws(ReplicationError) {
    guard remaining == 0 else {
      throw ReplicationError(.malformed, "A message has \(remaining) bytes too many.")
    }
  }
}

extension ByteBuffer {
  /// Text with its length in two bytes before it, cut at the last whole character within `max`.
  mutating func writeText(_ text: String, max: Int) {
    var text = text
    if text.utf8.count > max {
      var end = text.utf8.index(text.utf8.startIndex, offsetBy: max)
      while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
        end = text.utf8.index(before: end)
      }
      text = String(text[..<end])
    }
    writeInteger(UInt16(text.utf8.count))
    writeString(text)
  }

  mutating func writeEntry(_ entry: EntryID) {
    writeInteger(entry.term.rawValue)
    writeInteger(entry.index.rawValue)
  }
}
