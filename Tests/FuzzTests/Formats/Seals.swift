import LTX

@testable import Store

/// Checksums put right after a mutation: damage is found by them, but what was made wrong on purpose
/// or by a defect of the writer is not, and must not be trusted behind them either.
enum Seals {
  static func crc(_ bytes: some Sequence<UInt8>) -> UInt64 {
    var crc = CRC64()
    Array(bytes).withUnsafeBytes { crc.update($0) }
    return crc.value
  }

  /// For a file that ends in the CRC of all before.
  static func end(_ bytes: inout [UInt8]) {
    guard bytes.count >= 8 else { return }
    bytes.put(crc(bytes.dropLast(8)), at: bytes.count - 8)
  }

  /// One entry of the log at the beginning of `bytes[start...]`; the offset behind it.
  static func entry(_ bytes: inout [UInt8], at start: Int) -> Int? {
    let length = Int(bytes.big(UInt32.self, at: start))
    guard length >= 42, start + length <= bytes.count else { return nil }
    bytes.put(crc(bytes[start..<(start + length - 8)]), at: start + length - 8)
    return start + length
  }

  /// A segment of the log: its header, then every entry that its length leads to.
  static func segment(_ bytes: inout [UInt8]) {
    let length = Int(bytes.big(UInt32.self, at: 12))
    guard length >= 44, length <= bytes.count else { return }
    bytes.put(crc(bytes[..<(length - 8)]), at: length - 8)
    var offset = length
    while let next = entry(&bytes, at: offset) { offset = next }
  }

  /// A write-ahead log: the running checksum through all of its frames, and the salts.
  static func wal(_ bytes: inout [UInt8]) {
    let magic = bytes.big(UInt32.self, at: 0)
    guard bytes.count >= WALHeader.bytes, magic & ~1 == WALHeader.magicLittle else { return }
    let isBig = magic & 1 == 1
    var sum = WALSum()
    func add(_ range: Range<Int>) {
      sum = bytes[range].withUnsafeBytes { sum.adding($0, bigEndian: isBig) }
    }
    func store(at offset: Int) {
      bytes.put(sum.first, at: offset)
      bytes.put(sum.second, at: offset + 4)
    }
    add(0..<24)
    store(at: 24)
    guard let size = PageSize(bytes: Int(bytes.big(UInt32.self, at: 8))) else { return }
    var offset = WALHeader.bytes
    let frame = WALFrame.headerBytes + size.bytes
    while offset + frame <= bytes.count {
      bytes.put(bytes.big(UInt64.self, at: 16), at: offset + 8)
      add(offset..<(offset + 8))
      add((offset + WALFrame.headerBytes)..<(offset + frame))
      store(at: offset + 16)
      offset += frame
    }
  }

  /// A rollback journal: every record's checksum, as far as the first header leads.
  static func journal(_ bytes: inout [UInt8]) {
    let sector = Int(bytes.big(UInt32.self, at: 20))
    let nonce = bytes.big(UInt32.self, at: 12)
    guard (32...65_536).contains(sector),
      let size = PageSize(bytes: Int(bytes.big(UInt32.self, at: 24)))
    else { return }
    var offset = sector
    while offset + 8 + size.bytes <= bytes.count {
      var sum = nonce
      for at in stride(from: size.bytes - 200, to: 0, by: -200) {
        sum &+= UInt32(bytes[offset + 4 + at])
      }
      bytes.put(sum, at: offset + 4 + size.bytes)
      offset += 8 + size.bytes
    }
  }
}
