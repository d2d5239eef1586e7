import LTX

// A transaction over several attached databases has a super-journal: a file that lists the paths of
// all their journals, each ended by a zero byte. Its removal commits the transaction. Each of the
// journals ends with a record that names it: the number of the lock page, the path, its
// length, the sum of its bytes, and the magic number once more; numbers are big-endian. A journal whose
// super-journal is gone is not played back (sqlite.org/atomiccommit.html, section 5).

extension RollbackJournal {
  /// SQLite has at most 125 databases attached, and a path is shorter than this.
  static let longestName = 4096
  static let longestSuperJournal = 126 * longestName

  /// The path, as its writer saw it, of the super-journal that this journal belongs to.
  func superJournal() throws(StoreError) -> String? {
    guard size >= 16 else { return nil }
    let tail = try file.readBytes(16, at: size - 16)
    guard tail.count == 16 else { return nil }
    let (length, sum, magic) = tail.withUnsafeBytes {
      (
        $0.bigEndian(UInt32.self, at: 0), $0.bigEndian(UInt32.self, at: 4),
        $0.bigEndian(UInt64.self, at: 8)
      )
    }
    guard magic == Self.magic, length > 0, length < Self.longestName, Int64(length) <= size - 16
    else { return nil }
    let name = try file.readBytes(Int(length), at: size - 16 - Int64(length))
    // SQLite adds them up as C's `char`, which has a sign on some machines.
    let signed = name.reduce(UInt32(0)) { $0 &+ UInt32(bitPattern: Int32(Int8(bitPattern: $1))) }
    let unsigned = name.reduce(UInt32(0)) { $0 &+ UInt32($1) }
    guard name.count == Int(length), sum == signed || sum == unsigned else { return nil }
    return String(decoding: name, as: UTF8.self)
  }

  /// Paths of journals in the content of a super-journal.
  static func members(_ content: [UInt8]) -> [String] {
    content.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }
}
