/// Reads one LTX file page by page, in every body encoding there is.
///
/// From the LTX specification (superfly/ltx) and its releases:
///
/// * revision 1 (ltx 0.3): pages of a 4-byte number and the bytes, ended by a zero number; with the
///   header's flag 0x1 all of that is one LZ4 frame; then the trailer;
/// * revision 3 (ltx 0.5): see `LTXEncoder`; a page whose flag 0x0001 is not set is an LZ4 frame
///   without a length before it.
///
/// Memory is bounded by one page and LZ4's blocks, whatever the file says. The page index, which has
/// no bound, is not kept: since it must be what the pages seen make it, the checksum of that is
/// compared with the checksum of what is there.
///
/// **The pages are only to be trusted once `next` has returned nil**: then everything was compared
/// with the file's checksum, a snapshot's pages also with the checksum of the database, and nothing
/// follows the trailer. Stage what the file changes until then.
package struct LTXDecoder<Source: LTXByteSource> {
  private enum State { case reading, ended, failed }

  /// Bytes asked for at once: a few small pages, since most files hold no more.
  private static var chunkSize: Int { 16_384 }

  package private(set) var header: LTXHeader
  package private(set) var encoding: LTXEncoding
  /// The trailer, once all pages have been read and all checks were passed.
  package private(set) var trailer: LTXTrailer?
  /// The page that `next` returned last, with its checksum, for which the bytes were read anyway.
  package private(set) var digest: PageDigest?
  /// Where in the file that page begins and how many bytes it takes with its header; nil where the
  /// whole body is one LZ4 frame, for there pages have no place of their own.
  package private(set) var stored: (offset: UInt64, size: Int)?
  /// Pages read so far.
  package private(set) var pageCount: UInt32 = 0

  private var state = State.reading
  var input: LTXInput<Source>
  private var frame: LZ4Frame?
  private var isFrameOpen = false
  private var order: LTXPageOrder
  private var distance: CRC64.Distance
  private(set) var pagesChecksum = Checksum.empty
  var crc = CRC64()
  var index = LTXIndexSum()

  /// Reads the header.
  ///
  /// - Parameter encoding: nil to find out by looking at the first page (`LTXEncoding.detect`).
  package init(_ source: Source, encoding: LTXEncoding? = nil) throws(LTXError) {
    input = LTXInput(source, capacity: Self.chunkSize)
    header = try Self.readHeader(&input)
    order = LTXPageOrder(header)
    distance = .page(header.pageSize)
    self.encoding = .v3
    try begin(encoding)
  }

  /// Reads the header of another file in the memory of this one, whatever became of it.
  package mutating func restart(
    _ source: Source,
    encoding: LTXEncoding? = nil
  ) throws(LTXError) {
    state = .failed
    input.restart(source)
    let pageSize = header.pageSize
    header = try Self.readHeader(&input)
    order = LTXPageOrder(header)
    if header.pageSize != pageSize {
      distance = .page(header.pageSize)
    }
    crc = CRC64()
    index.reset()
    trailer = nil
    digest = nil
    pageCount = 0
    pagesChecksum = .empty
    isFrameOpen = false
    try begin(encoding)
  }

  /// Reads the next page and returns its number; nil once the rest of the file was checked.
  ///
  /// - Parameter page: exactly one page; its content is undefined after an error.
  package mutating func next(
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) -> PageNumber? {
    precondition(page.count == header.pageSize.bytes, "the buffer must hold one page")
    switch state {
    case .ended: return nil
    case .failed: throw LTXError(.invalid, "the LTX file was already found to be unusable")
    case .reading: break
    }
    state = .failed
    guard let number = try readPage(into: page) else {
      trailer = try readEnd()
      state = .ended
      return nil
    }
    state = .reading
    return number
  }

  private static func readHeader(_ input: inout LTXInput<Source>) throws(LTXError) -> LTXHeader {
    try input.require(LTXHeader.size, for: "the header")
    return try input.withBuffered { bytes in
      Result { () throws(LTXError) in try LTXHeader(decoding: bytes) }
    }.get()
  }

  private mutating func begin(_ encoding: LTXEncoding?) throws(LTXError) {
    crc = input.withBuffered { bytes in
      var crc = CRC64()
      crc.update(UnsafeRawBufferPointer(rebasing: bytes[..<LTXHeader.size]))
      return crc
    }
    input.skip(LTXHeader.size)
    // Room for a page in its longest form.
    input.reserve(LTXEncoding.detectionSize(header.pageSize))
    self.encoding = if let encoding { encoding } else { try detect() }
    guard self.encoding == .v1 || !header.flags.contains(.compressedBody) else {
      throw LTXError(.corrupt, "flag 0x1 is not allowed in a file of revision 3")
    }
    state = .reading
  }

  private mutating func detect() throws(LTXError) -> LTXEncoding {
    _ = try input.peek(LTXEncoding.detectionSize(header.pageSize))
    let header = header
    return input.withBuffered { body in
      withUnsafeTemporaryAllocation(byteCount: header.pageSize.bytes, alignment: 16) {
        LTXEncoding.detect(header, body: body, page: $0)
      }
    }
  }

  /// Reads one page; nil at the terminator, which is taken too.
  private mutating func readPage(
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) -> PageNumber? {
    let start = input.offset
    let number =
      switch encoding {
      case .v1 where header.flags.contains(.compressedBody): try readFramedPage(into: page)
      case .v1: try readPlainPage(into: page)
      case .v3: try readPackedPage(into: page)
      }
    guard let number else { return nil }
    let digest = PageDigest(number, UnsafeRawBufferPointer(page))
    crc.update(digest, distance: distance)
    pagesChecksum = pagesChecksum.toggling(digest.checksum)
    self.digest = digest
    order.advance(to: number)
    let size = Int(input.offset - start)
    stored = header.flags.contains(.compressedBody) ? nil : (start, size)
    pageCount += 1
    if encoding == .v3 { index.append(number, offset: start, size: size) }
    return number
  }

  /// Takes a page's number into account; nil for the terminator.
  private mutating func check(_ value: UInt32) throws(LTXError) -> PageNumber? {
    crc.update(bigEndian: value)
    guard value != 0 else {
      if let objection = order.objectionToEnd { throw LTXError(.corrupt, objection) }
      return nil
    }
    let number = PageNumber(value)
    if let objection = order.objection(to: number) {
      throw LTXError(.corrupt, "before byte \(input.offset): \(objection)")
    }
    return number
  }
}

// Revision 1.
extension LTXDecoder {
  private mutating func readPlainPage(
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) -> PageNumber? {
    try input.require(4, for: "a page number")
    let value = input.number(UInt32.self, at: 0)
    input.skip(4)
    guard let number = try check(value) else { return nil }
    try input.read(into: page, for: "page \(number)")
    return number
  }

  private mutating func readFramedPage(
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) -> PageNumber? {
    if pageCount == 0 { try openFrame() }
    let prefix = UnsafeMutableRawBufferPointer(rebasing: page[..<4])
    try readFrame(into: prefix, for: "a page number")
    let value = UnsafeRawBufferPointer(prefix).bigEndian(UInt32.self, at: 0)
    guard let number = try check(value) else {
      try closeFrame()
      return nil
    }
    try readFrame(into: page, for: "page \(number)")
    return number
  }
}

// Revision 3.
extension LTXDecoder {
  private mutating func readPackedPage(
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) -> PageNumber? {
    try input.require(LTXPageHeader.size, for: "a page header")
    let value = input.number(UInt32.self, at: 0)
    let flags = input.number(UInt16.self, at: 4)
    input.skip(LTXPageHeader.size)
    let number = try check(value)
    crc.update(bigEndian: flags)
    guard let number else {
      guard flags == 0 else {
        throw LTXError(.corrupt, "the end of the pages before byte \(input.offset) has flags")
      }
      return nil
    }
    switch flags {
    case LTXPageHeader.hasLength: try readBlock(number, into: page)
    case 0:
      try openFrame()
      try readFrame(into: page, for: "page \(number)")
      try closeFrame()
    default:
      throw LTXError(
        .unsupported,
        "page \(number) has flags 0x\(String(flags, radix: 16)); a newer version may read it"
      )
    }
    return number
  }

  private mutating func readBlock(
    _ number: PageNumber,
    into page: UnsafeMutableRawBufferPointer
  ) throws(LTXError) {
    try input.require(4, for: "the length of page \(number)")
    let length = input.number(UInt32.self, at: 0)
    crc.update(bigEndian: length)
    input.skip(4)
    guard length > 0, length <= LZ4Block.bound(page.count) else {
      throw LTXError(
        .corrupt,
        "page \(number) claims \(length) bytes, which no page of \(page.count) takes"
      )
    }
    try input.require(Int(length), for: "page \(number)")
    let isWhole = input.withBuffered {
      LZ4Block.decompress(UnsafeRawBufferPointer(rebasing: $0[..<Int(length)]), into: page)
    }
    guard isWhole else { throw damaged("page \(number)") }
    input.skip(Int(length))
  }
}

// LZ4 frames, of both revisions.
extension LTXDecoder {
  private mutating func openFrame() throws(LTXError) {
    if frame == nil { frame = LZ4Frame() }
    guard let frame else {
      throw LTXError(.unreadable, "liblz4 gave no context to expand a frame: out of memory")
    }
    frame.reset()
    try input.require(LZ4Frame.prefixSize, for: "the beginning of an LZ4 frame")
    guard input.withBuffered(LZ4Frame.isAcceptable) else {
      throw LTXError(
        .corrupt,
        "no LZ4 frame with blocks of 64 KiB begins at byte \(input.offset)"
      )
    }
    isFrameOpen = true
  }

  private mutating func readFrame(
    into target: UnsafeMutableRawBufferPointer,
    for what: @autoclosure () -> String
  ) throws(LTXError) {
    var done = 0
    while done < target.count {
      done += try stepFrame(
        into: UnsafeMutableRawBufferPointer(rebasing: target[done...]),
        for: what()
      )
    }
  }

  /// Takes what is left of the frame, which must not be content.
  private mutating func closeFrame() throws(LTXError) {
    var spare: UInt8 = 0
    while isFrameOpen {
      let extra = try withUnsafeMutableBytes(of: &spare) { spare in
        Result { () throws(LTXError) in try stepFrame(into: spare, for: "an LZ4 frame") }
      }.get()
      guard extra == 0 else {
        throw LTXError(.corrupt, "the LZ4 frame before byte \(input.offset) holds too much")
      }
    }
  }

  /// Expands what it can; the number of bytes this yielded.
  private mutating func stepFrame(
    into target: UnsafeMutableRawBufferPointer,
    for what: @autoclosure () -> String
  ) throws(LTXError) -> Int {
    guard isFrameOpen, let frame else {
      throw LTXError(.corrupt, "the LZ4 frame ends before byte \(input.offset), within \(what())")
    }
    guard try input.peekAny() > 0 else {
      throw LTXError(.truncated, "the file ends at byte \(input.offset), within \(what())")
    }
    guard let step = input.withBuffered({ frame.step($0, into: target) }) else {
      throw damaged(what())
    }
    input.skip(step.consumed)
    isFrameOpen = !step.isAtEnd
    return step.produced
  }

  private func damaged(_ what: String) -> LTXError {
    LTXError(.corrupt, "\(what) cannot be expanded near byte \(input.offset): LZ4 data is damaged")
  }
}
