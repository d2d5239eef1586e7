/// The page index as the pages seen make it: not the bytes, only their number and checksum.
struct LTXIndexSum {
  private(set) var crc = CRC64()
  private(set) var count: UInt64 = 0
  private var scratch: [UInt8] = []

  /// Begins again in the same memory.
  mutating func reset() {
    crc = CRC64()
    count = 0
  }

  mutating func append(_ number: PageNumber, offset: UInt64, size: Int) {
    scratch.removeAll(keepingCapacity: true)
    scratch.appendVarint(UInt64(number.rawValue))
    scratch.appendVarint(offset)
    scratch.appendVarint(UInt64(size))
    take()
  }

  mutating func end() {
    scratch.removeAll(keepingCapacity: true)
    scratch.append(0)
    take()
  }

  private mutating func take() {
    var crc = crc
    scratch.withUnsafeBytes { crc.update($0) }
    self.crc = crc
    count += UInt64(scratch.count)
  }
}

// What follows the pages.
extension LTXDecoder {
  /// Reads index and trailer and makes all checks; returns the trailer.
  mutating func readEnd() throws(LTXError) -> LTXTrailer {
    if encoding == .v3 { try readIndex() }
    try input.require(LTXTrailer.size, for: "the trailer")
    let trailer = try input.withBuffered { bytes in
      Result { () throws(LTXError) in try LTXTrailer(decoding: bytes) }
    }.get()
    input.skip(LTXTrailer.size)
    crc.update(bigEndian: trailer.postApply.rawValue)
    let sum = Checksum(rawValue: crc.value | Checksum.flag)
    guard trailer.file == sum else {
      throw LTXError(
        .mismatch,
        "the file's checksum is \(sum), its trailer says \(trailer.file); fetch the file again"
      )
    }
    try trailer.validate(after: header)
    guard !header.isSnapshot || !header.hasChecksums || trailer.postApply == pagesChecksum else {
      throw LTXError(
        .mismatch,
        "the snapshot's pages yield \(pagesChecksum), not the database's \(trailer.postApply)"
      )
    }
    guard try input.peekAny() == 0 else {
      throw LTXError(.corrupt, "bytes follow the end of the file at byte \(input.offset)")
    }
    return trailer
  }

  private mutating func readIndex() throws(LTXError) {
    index.end()
    var found = CRC64()
    var left = index.count
    while left > 0 {
      guard try input.peekAny() > 0 else {
        throw LTXError(.truncated, "the file ends at byte \(input.offset), within the page index")
      }
      var sums = (file: crc, index: found)
      let count = input.withBuffered { buffered in
        let part = buffered.prefix(Int(clamping: left))
        sums.file.update(UnsafeRawBufferPointer(rebasing: part))
        sums.index.update(UnsafeRawBufferPointer(rebasing: part))
        return part.count
      }
      (crc, found) = sums
      input.skip(count)
      left -= UInt64(count)
    }
    try input.require(8, for: "the length of the page index")
    let length = input.number(UInt64.self, at: 0)
    crc.update(bigEndian: length)
    guard found.value == index.crc.value, length == index.count else {
      throw LTXError(
        .corrupt,
        "the page index before byte \(input.offset) is not that of the pages"
      )
    }
    input.skip(8)
  }
}
