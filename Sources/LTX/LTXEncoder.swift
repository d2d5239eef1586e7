/// Writes one LTX file after the other, with body revision 3 and each page an LZ4 block.
///
/// From the LTX specification (superfly/ltx v0.5.2). After the header of 100 bytes:
///
/// * each page: number (4 bytes), flags (2 bytes, 0x0001 = a length follows), length of the block
///   (4 bytes), and an LZ4 block that expands to exactly one page;
/// * the terminator, six zero bytes;
/// * the page index: for each page its number, the offset of its page header in the file and its
///   size with that header, as unsigned LEB128 numbers; a zero; the number of these bytes (8 bytes);
/// * the trailer.
///
/// The bytes collect in `output` and can be taken at any time. A commit must not allocate: reuse an
/// encoder with `reset(header:)`, read `output` in place, and drop it with `clearOutput()`. Only the
/// page index, some ten bytes a page, is kept until the end.
///
/// The rules of the format are enforced: the header's, the order of pages, that a snapshot is
/// complete, and that its pages yield the checksum it promises. After an error the file is unusable;
/// `reset` begins another.
package struct LTXEncoder: Sendable {
  private enum State { case open, finished, failed }

  package private(set) var header: LTXHeader
  /// What has been encoded and not yet been taken.
  package private(set) var output: [UInt8] = []
  /// The exclusive or of the checksums of all pages so far: for a snapshot the database's checksum.
  package private(set) var pagesChecksum = Checksum.empty

  private var compression: LTXCompression
  private var state = State.open
  private var order: LTXPageOrder
  private var crc = CRC64()
  private var distance: CRC64.Distance
  private var compressor: LZ4Compressor?
  /// Where in the file the next byte comes.
  private var offset: UInt64 = 0
  private var index: [UInt8] = []

  /// Begins a file.
  package init(header: LTXHeader, compression: LTXCompression) throws(LTXError) {
    self.header = header
    self.compression = compression
    order = LTXPageOrder(header)
    distance = .page(header.pageSize)
    try begin()
  }

  /// Begins another file; output of the last that was not taken is dropped. Memory is kept.
  ///
  /// - Parameter compression: of this file; nil for that of the last.
  package mutating func reset(
    header: LTXHeader,
    compression: LTXCompression? = nil
  ) throws(LTXError) {
    if header.pageSize != self.header.pageSize {
      distance = .page(header.pageSize)
    }
    self.header = header
    self.compression = compression ?? self.compression
    order = LTXPageOrder(header)
    crc = CRC64()
    offset = 0
    pagesChecksum = .empty
    index.removeAll(keepingCapacity: true)
    output.removeAll(keepingCapacity: true)
    try begin()
  }

  private mutating func begin() throws(LTXError) {
    state = .failed
    if compression == .fast, compressor == nil {
      compressor = LZ4Compressor(bytes: header.pageSize.bytes)
    }
    try header.validate()
    guard !header.flags.contains(.compressedBody) else {
      throw LTXError(.unsupported, "bodies of revision 1 can be read but not written")
    }
    guard header.commit > 0 || header.hasChecksums else {
      throw LTXError(
        .invalid,
        "the format has no way to delete a database in a file without checksums"
      )
    }
    let start = output.count
    header.encode(into: &output)
    sumOutput(from: start)
    state = .open
  }

  /// Appends a page and returns its checksum, for which the bytes were read anyway.
  ///
  /// - Parameter bytes: one page, of the size the header says.
  @discardableResult
  package mutating func append(
    _ number: PageNumber,
    _ bytes: UnsafeRawBufferPointer
  ) throws(LTXError) -> Checksum {
    let digest = PageDigest(number, bytes)
    try append(digest, bytes)
    return digest.checksum
  }

  /// Appends a page whose digest is already known.
  package mutating func append(
    _ digest: PageDigest,
    _ bytes: UnsafeRawBufferPointer
  ) throws(LTXError) {
    try require(.open)
    guard bytes.count == header.pageSize.bytes else {
      throw fail("page \(digest.number) has \(bytes.count) bytes, not \(header.pageSize)")
    }
    if let objection = order.objection(to: digest.number) { throw fail(objection) }
    let start = output.count
    appendPage(digest.number, bytes)
    let size = UInt64(output.count - start)
    crc.update(digest, distance: distance)
    pagesChecksum = pagesChecksum.toggling(digest.checksum)
    order.advance(to: digest.number)
    index.appendVarint(UInt64(digest.number.rawValue))
    index.appendVarint(offset)
    index.appendVarint(size)
    offset += size
  }

  /// Ends the file.
  ///
  /// - Parameter postApply: the database's checksum after the file; for a snapshot it must be
  ///   `pagesChecksum`, for a file without checksums `.none`.
  package mutating func finish(postApply: Checksum) throws(LTXError) {
    try require(.open)
    if let objection = order.objectionToEnd { throw fail(objection) }
    do {
      try LTXTrailer.validate(postApply: postApply, after: header)
    } catch {
      state = .failed
      throw error
    }
    guard !header.isSnapshot || !header.hasChecksums || postApply == pagesChecksum else {
      throw fail("the snapshot's pages yield checksum \(pagesChecksum), not \(postApply)")
    }
    index.append(0)
    let start = output.count
    output.appendBigEndian(UInt32(0))
    output.appendBigEndian(UInt16(0))
    output.append(contentsOf: index)
    output.appendBigEndian(UInt64(index.count))
    output.appendBigEndian(postApply.rawValue)
    sumOutput(from: start)
    output.appendBigEndian(crc.value | Checksum.flag)
    state = .finished
  }

  /// Hands over what has been encoded so far; the next bytes continue it.
  package mutating func takeOutput() -> [UInt8] {
    defer { output = [] }
    return output
  }

  /// Drops what has been encoded so far and keeps its memory.
  package mutating func clearOutput() { output.removeAll(keepingCapacity: true) }

  /// Appends a page's header and block.
  private mutating func appendPage(_ number: PageNumber, _ bytes: UnsafeRawBufferPointer) {
    let start = output.count
    output.appendBigEndian(number.rawValue)
    output.appendBigEndian(UInt16(1))
    output.appendBigEndian(UInt32(0))
    let blockStart = output.count
    let isCompressed =
      compression == .fast
      && compressor?.compress(bytes) { output.append(contentsOf: $0) } != nil
    if !isCompressed {
      LZ4Block.appendLiteralStart(bytes.count, to: &output)
      output.append(contentsOf: bytes)
    }
    let length = UInt32(truncatingIfNeeded: output.count - blockStart)
    for i in 0..<4 {
      output[blockStart - 4 + i] = UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * i))
    }
    output.withUnsafeBytes { crc.update(UnsafeRawBufferPointer(rebasing: $0[start..<blockStart])) }
  }

  /// Takes what was appended to the output since `start` into the file's checksum and offset.
  private mutating func sumOutput(from start: Int) {
    output.withUnsafeBytes { crc.update(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    offset += UInt64(output.count - start)
  }

  private func require(_ expected: State) throws(LTXError) {
    guard state == expected else {
      throw LTXError(
        .invalid,
        "the LTX file has \(state == .failed ? "failed" : "ended"), begin another"
      )
    }
  }

  private mutating func fail(_ message: String) -> LTXError {
    state = .failed
    return LTXError(.invalid, message)
  }
}
