import NIOCore

/// FNV-1a over words of 64 bits instead of bytes (Fowler, Noll and Vo; isthe.com/chongo/tech/comp/fnv).
///
/// For a given state, each step maps words to states one to one, and for a given word it maps states
/// to states one to one, as the prime is odd. A change within one word therefore always changes
/// the result. A table-driven CRC would find more bursts and cost several times as much; the bytes
/// that matter (entries, pages) carry checksums of their own.
struct FrameChecksum {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
  private static let prime: UInt64 = 0x0000_0100_0000_01b3

  init(length: UInt32, type: UInt8, term: UInt64) {
    mix(UInt64(length) << 8 | UInt64(type))
    mix(term)
  }

  private mutating func mix(_ word: UInt64) { value = (value ^ word) &* Self.prime }

  /// Adds the payload, in little-endian words; the last is filled up with zeros (its length is in
  /// the header).
  mutating func update(_ payload: ByteBuffer) {
    let bytes = payload.readableBytesSpan
    let wordBytes = bytes.byteCount & ~7
    var offset = 0
    while offset < wordBytes {
      mix(UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset += 8
    }
    guard offset < bytes.byteCount else { return }
    var last: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.byteCount {
      let byte = bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
      last |= UInt64(byte) << shift
      shift += 8
      offset += 1
    }
    mix(last)
  }
}
