import LTX

/// All that a file says, read to its verified end.
struct DecodedFile: Equatable {
  struct Page: Equatable {
    var number: PageNumber
    var checksum: Checksum?
    var bytes: [UInt8]
  }

  var header: LTXHeader
  var pages: [Page] = []
  var trailer: LTXTrailer?
  var encoding: LTXEncoding

  init(_ bytes: [UInt8], encoding: LTXEncoding? = nil) throws {
    try self.init(LTXBytes(bytes), encoding: encoding)
  }

  init(_ source: some LTXByteSource, encoding: LTXEncoding? = nil) throws {
    var decoder = try LTXDecoder(source, encoding: encoding)
    try self.init(&decoder)
  }

  /// Reads what a decoder stands at the beginning of.
  init(_ decoder: inout LTXDecoder<some LTXByteSource>) throws {
    header = decoder.header
    self.encoding = decoder.encoding
    var page = [UInt8](repeating: 0, count: header.pageSize.bytes)
    while let number = try page.withUnsafeMutableBytes({ try decoder.next(into: $0) }) {
      pages.append(Page(number: number, checksum: decoder.digest?.checksum, bytes: page))
    }
    trailer = decoder.trailer
  }

  /// The same file as our encoder writes it.
  func encoded(_ compression: LTXCompression) throws -> [UInt8] {
    var header = header
    header.flags.remove(.compressedBody)
    var encoder = try LTXEncoder(header: header, compression: compression)
    for page in pages {
      _ = try page.bytes.withUnsafeBytes { try encoder.append(page.number, $0) }
    }
    try encoder.finish(postApply: trailer?.postApply ?? .none)
    return encoder.takeOutput()
  }
}

/// Memory that hands out few bytes at a time, or fails.
struct DripSource: LTXByteSource {
  struct Failure: Error, Equatable {}

  var bytes: [UInt8]
  var atMost: Int
  /// Where reading fails.
  var failsAt = Int.max
  private var position = 0

  init(_ bytes: [UInt8], atMost: Int, failsAt: Int = .max) {
    self.bytes = bytes
    self.atMost = atMost
    self.failsAt = failsAt
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    if position >= failsAt { throw Failure() }
    let count = min(buffer.count, atMost, bytes.count - position)
    for i in 0..<count { buffer[i] = bytes[position + i] }
    position += count
    return count
  }
}
