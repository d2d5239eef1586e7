import LTX

// SQLite's write-ahead log (sqlite.org/fileformat2.html, section 4, and sqlite.org/walformat.html).
//
// Header, 32 bytes, big-endian: magic 0x377f0682 (checksums over little-endian words) or 0x377f0683
// (big-endian words), format 3007000, page size, checkpoint sequence, salt-1, salt-2, checksum-1,
// checksum-2 over the first 24 bytes.
//
// Then frames: 24 bytes (page number; size of the database in pages after the commit, or zero for
// a frame that does not end a transaction; salt-1; salt-2; checksum-1; checksum-2) and the page.
// The checksum runs on from the header over the first 8 bytes of each frame header and the page,
// so a frame is valid only with all before it. A writer that starts the file over changes the
// salts: whatever lies behind from before is then invalid.

/// The running checksum of a write-ahead log.
struct WALSum: Equatable, Sendable {
  var first: UInt32 = 0
  var second: UInt32 = 0

  /// Runs on over `bytes`, a multiple of eight long.
  func adding(_ bytes: UnsafeRawBufferPointer, bigEndian: Bool) -> WALSum {
    precondition(bytes.count % 8 == 0, "the checksum runs over pairs of words")
    var a = first
    var b = second
    var offset = 0
    if bigEndian {
      while offset < bytes.count {
        let x = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        let y = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
        a = a &+ x &+ b
        b = b &+ y &+ a
        offset += 8
      }
    } else {
      while offset < bytes.count {
        let x = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        let y = UInt32(
          littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
        )
        a = a &+ x &+ b
        b = b &+ y &+ a
        offset += 8
      }
    }
    return WALSum(first: a, second: b)
  }
}

/// The header of a write-ahead log.
struct WALHeader: Equatable, Sendable {
  static let bytes = 32
  static let magicLittle: UInt32 = 0x377f_0682
  static let magicBig: UInt32 = 0x377f_0683
  static let version: UInt32 = 3_007_000

  var bigEndianSums: Bool
  var pageSize: PageSize
  var sequence: UInt32
  var salt1: UInt32
  var salt2: UInt32
  /// The checksum of the header: where the frames' running checksum begins.
  var sum: WALSum

  var frameBytes: Int64 { Int64(WALFrame.headerBytes + pageSize.bytes) }

  /// Where a frame begins; the first is 1.
  func offset(ofFrame frame: UInt32) -> Int64 {
    Int64(Self.bytes) + (Int64(frame) - 1) * frameBytes
  }

  /// Whether a transaction of so many frames can have brought a database to this size. One that
  /// cannot would make pages of nothing, as many as four bytes can say.
  ///
  /// A page that is new and has no frame is a leaf of the freelist (SQLite does not write those), so a
  /// trunk page that has a frame names it, with four bytes. The page of the lock bytes is neither
  /// written nor named.
  func canReach(pages: UInt32, from old: UInt32, frames: Int) -> Bool {
    Int64(pages) <= Int64(old) + Int64(frames) * Int64(pageSize.bytes / 4) + 1
  }

  /// - Returns: nil when the bytes are not a whole, valid header.
  init?(_ raw: UnsafeRawBufferPointer) {
    guard raw.count >= Self.bytes else { return nil }
    let magic = raw.bigEndian(UInt32.self, at: 0)
    guard magic == Self.magicLittle || magic == Self.magicBig,
      raw.bigEndian(UInt32.self, at: 4) == Self.version,
      let size = PageSize(bytes: Int(raw.bigEndian(UInt32.self, at: 8)))
    else { return nil }
    bigEndianSums = magic == Self.magicBig
    pageSize = size
    sequence = raw.bigEndian(UInt32.self, at: 12)
    salt1 = raw.bigEndian(UInt32.self, at: 16)
    salt2 = raw.bigEndian(UInt32.self, at: 20)
    sum = WALSum().adding(
      UnsafeRawBufferPointer(rebasing: raw[0..<24]),
      bigEndian: bigEndianSums
    )
    guard sum.first == raw.bigEndian(UInt32.self, at: 24),
      sum.second == raw.bigEndian(UInt32.self, at: 28)
    else { return nil }
  }

  /// The header of a file, or nil where it has none.
  static func read(_ file: any DiskFile) throws(StoreError) -> WALHeader? {
    try file.readBytes(bytes, at: 0).withUnsafeBytes { WALHeader($0) }
  }

  /// Where the newest copy of each page lies, given the pages of all frames in order.
  func places(of pages: [UInt32]) -> [UInt32: Int64] {
    var places: [UInt32: Int64] = [:]
    for (frame, page) in pages.enumerated() {
      places[page] = offset(ofFrame: UInt32(frame) + 1) + Int64(WALFrame.headerBytes)
    }
    return places
  }

  /// A header for a log of our own.
  init(pageSize: PageSize, sequence: UInt32, salt1: UInt32, salt2: UInt32) {
    // The machine's own order, as SQLite does.
    bigEndianSums = UInt32(1).bigEndian == 1
    self.pageSize = pageSize
    self.sequence = sequence
    self.salt1 = salt1
    self.salt2 = salt2
    sum = WALSum()
    let bytes = encoded()
    sum = bytes.withUnsafeBytes {
      WALSum().adding(UnsafeRawBufferPointer(rebasing: $0[0..<24]), bigEndian: bigEndianSums)
    }
  }

  func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.bytes)
    bytes.appendBigEndian(bigEndianSums ? Self.magicBig : Self.magicLittle)
    bytes.appendBigEndian(Self.version)
    bytes.appendBigEndian(UInt32(pageSize.bytes))
    bytes.appendBigEndian(sequence)
    bytes.appendBigEndian(salt1)
    bytes.appendBigEndian(salt2)
    bytes.appendBigEndian(sum.first)
    bytes.appendBigEndian(sum.second)
    return bytes
  }
}

/// The header of one frame.
struct WALFrame: Equatable, Sendable {
  static let headerBytes = 24

  var page: UInt32
  /// Pages of the database after the transaction that this frame ends; zero elsewhere.
  var commit: UInt32
  var salt1: UInt32
  var salt2: UInt32
  var sum: WALSum

  /// - Precondition: `raw` holds at least 24 bytes.
  init(_ raw: UnsafeRawBufferPointer) {
    page = raw.bigEndian(UInt32.self, at: 0)
    commit = raw.bigEndian(UInt32.self, at: 4)
    salt1 = raw.bigEndian(UInt32.self, at: 8)
    salt2 = raw.bigEndian(UInt32.self, at: 12)
    sum = WALSum(
      first: raw.bigEndian(UInt32.self, at: 16),
      second: raw.bigEndian(UInt32.self, at: 20)
    )
  }

  /// Whether this frame with this page follows a frame whose running checksum is `previous`.
  func follows(
    _ previous: WALSum,
    in wal: WALHeader,
    header: UnsafeRawBufferPointer,
    content: UnsafeRawBufferPointer
  ) -> Bool {
    guard page > 0, salt1 == wal.salt1, salt2 == wal.salt2 else { return false }
    let sum = previous.adding(
      UnsafeRawBufferPointer(rebasing: header[0..<8]),
      bigEndian: wal.bigEndianSums
    ).adding(content, bigEndian: wal.bigEndianSums)
    return sum == self.sum
  }

  /// Writes a frame header that continues `previous` into `target`; its running checksum.
  static func store(
    page: UInt32,
    commit: UInt32,
    after previous: WALSum,
    in wal: WALHeader,
    content: UnsafeRawBufferPointer,
    to target: UnsafeMutableRawBufferPointer
  ) -> WALSum {
    target.storeBigEndian(page, at: 0)
    target.storeBigEndian(commit, at: 4)
    target.storeBigEndian(wal.salt1, at: 8)
    target.storeBigEndian(wal.salt2, at: 12)
    let head = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[0..<8])
    let sum = previous.adding(head, bigEndian: wal.bigEndianSums)
      .adding(content, bigEndian: wal.bigEndianSums)
    target.storeBigEndian(sum.first, at: 16)
    target.storeBigEndian(sum.second, at: 20)
    return sum
  }
}
