import LTX
import Testing

/// The checksum against the plain definition, one bit at a time through a table.
@Suite struct CRC64Tests {
  /// The textbook form: one table look-up a byte.
  private struct Table {
    let entries: [UInt64] = (0..<256).map { byte in
      (0..<8).reduce(UInt64(byte)) { value, _ in
        (value >> 1) ^ (value & 1 == 1 ? 0xD800_0000_0000_0000 : 0)
      }
    }

    func checksum(_ bytes: some Sequence<UInt8>) -> UInt64 {
      ~bytes.reduce(~UInt64(0)) { register, byte in
        entries[Int((register ^ UInt64(byte)) & 255)] ^ (register >> 8)
      }
    }
  }

  private func checksum(_ bytes: some Collection<UInt8>) -> UInt64 {
    var crc = CRC64()
    Array(bytes).withUnsafeBytes { crc.update($0) }
    return crc.value
  }

  @Test func knownValue() {
    // The check value that the catalogues of CRC algorithms list for CRC-64/GO-ISO.
    #expect(checksum(Array("123456789".utf8)) == 0xb909_56c7_75a4_1001)
    #expect(checksum([]) == 0)
  }

  @Test func everyShortLength() {
    let table = Table()
    var random = SeededRandom(1)
    let bytes = random.bytes(1_700)
    for length in 0...bytes.count {
      #expect(checksum(bytes.prefix(length)) == table.checksum(bytes.prefix(length)))
    }
  }

  @Test(arguments: [2, 3, 4, 5])
  func randomLengthsAlignmentsAndParts(seed: UInt64) {
    let table = Table()
    var random = SeededRandom(seed)
    let bytes = random.bytes(70_000)
    for _ in 0..<60 {
      let start = random.below(65)
      let length = random.below(bytes.count - start)
      let slice = bytes[start..<start + length]
      let split = random.below(length + 1)
      var crc = CRC64()
      bytes.withUnsafeBytes { whole in
        crc.update(UnsafeRawBufferPointer(rebasing: whole[start..<start + split]))
        crc.update(UnsafeRawBufferPointer(rebasing: whole[start + split..<start + length]))
      }
      #expect(crc.value == table.checksum(slice), "start \(start) length \(length)")
    }
  }

  @Test func numbersAreTakenMostSignificantFirst() {
    var crc = CRC64()
    crc.update(bigEndian: UInt32(0x0102_0304))
    crc.update(bigEndian: UInt64(0x0506_0708_090a_0b0c))
    #expect(crc.value == Table().checksum(1...12))
  }

  @Test func combinesTwoParts() {
    var random = SeededRandom(6)
    let bytes = random.bytes(5_000)
    for split in [0, 1, 7, 8, 63, 64, 512, 4_096, 4_999, 5_000] {
      let combined = CRC64.combine(
        checksum(bytes[..<split]),
        checksum(bytes[split...]),
        lengthB: bytes.count - split
      )
      #expect(combined == checksum(bytes))
    }
  }

  @Test(arguments: [512, 1_024, 4_096, 65_536])
  func aPagesDigestStandsForItsBytes(size: Int) {
    var random = SeededRandom(UInt64(size))
    let before = random.bytes(113)
    let page = random.bytes(size)
    let distance = CRC64.Distance(bytes: size)
    for value in [1, 2, 0x1234_5678, UInt32.max] {
      let number = PageNumber(value)
      let digest = page.withUnsafeBytes { PageDigest(number, $0) }
      let prefix = withUnsafeBytes(of: number.rawValue.bigEndian) { Array($0) }
      #expect(digest.crc == checksum(prefix + page))
      #expect(digest.checksum.rawValue == digest.crc | Checksum.flag)
      var crc = CRC64()
      before.withUnsafeBytes { crc.update($0) }
      crc.update(digest, distance: distance)
      #expect(crc.value == checksum(before + page))
    }
  }
}
