import LTX
import Synchronization

// The wal-index (sqlite.org/walformat.html, section 2): how the processes that use a database find
// pages in its write-ahead log. A file of 32 KiB regions in the machine's own byte order.
//
// Region 0 begins with two copies of a 48-byte header and 40 bytes of checkpoint information:
//
//   0   4  version 3007000              96   4  frames already in the database (nBackfill)
//   4   4  unused                       100  20 five read marks
//   8   4  counter of changes           120  8  the lock bytes (never touched)
//   12  1  1 when initialized           128  4  frames a checkpoint has tried (nBackfillAttempted)
//   13  1  1 for big-endian checksums   132  4  unused
//   14  2  page size, 1 for 65,536
//   16  4  last valid frame (mxFrame)
//   20  4  pages of the database
//   24  8  running checksum of that frame
//   32  8  the two salts, as in the log
//   40  8  checksum of the bytes before
//
// Each region then maps frames to pages: an array of page numbers (4,062 in region 0, where the
// header takes the place of 34, else 4,096), and at 16 KiB a hash table of 8,192 16-bit slots: the
// slot of a page is page*383 modulo 8,192, or the next free one, and holds the frame's place in
// this region's array, from 1.
//
// A reader takes mxFrame from a header whose two copies agree, so a writer fills arrays and hash
// first, then the second copy, then the first.

/// The wal-index of one database, as the daemon reads and advances it.
struct WALIndex: Sendable {
  static let version: UInt32 = 3_007_000
  static let headerBytes = 48
  static let firstArray = 136
  static let firstEntries = 4062
  static let entries = 4096
  static let hashOffset = 16 << 10
  static let hashSlots = 8192
  /// A read mark that no reader uses.
  static let unusedMark = UInt32.max

  let memory: SharedMemory

  /// The header, decoded.
  struct Header: Equatable, Sendable {
    var change: UInt32 = 0
    var bigEndianSums = UInt32(1).bigEndian == 1
    var pageSize: PageSize
    var frames: UInt32
    var pages: UInt32
    var sum: WALSum
    var salt1: UInt32
    var salt2: UInt32

    func encoded() -> [UInt8] {
      var bytes: [UInt8] = []
      bytes.reserveCapacity(headerBytes)
      func native(_ value: UInt32) { withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) } }
      native(version)
      native(0)
      native(change)
      bytes.append(1)
      bytes.append(bigEndianSums ? 1 : 0)
      let size = UInt16(truncatingIfNeeded: pageSize.bytes & 0xff00 | pageSize.bytes >> 16)
      withUnsafeBytes(of: size) { bytes.append(contentsOf: $0) }
      native(frames)
      native(pages)
      native(sum.first)
      native(sum.second)
      // Salts keep the byte order of the file.
      native(salt1.bigEndian)
      native(salt2.bigEndian)
      let check = bytes.withUnsafeBytes {
        WALSum().adding($0, bigEndian: UInt32(1).bigEndian == 1)
      }
      native(check.first)
      native(check.second)
      return bytes
    }

    /// - Returns: nil where the bytes are no initialized header with a right checksum.
    init?(_ bytes: [UInt8]) {
      guard bytes.count == headerBytes, bytes[12] == 1 else { return nil }
      let decoded = bytes.withUnsafeBytes { raw -> Header? in
        let check = WALSum().adding(
          UnsafeRawBufferPointer(rebasing: raw[0..<40]),
          bigEndian: UInt32(1).bigEndian == 1
        )
        guard raw.native(UInt32.self, at: 0) == version,
          raw.native(UInt32.self, at: 40) == check.first,
          raw.native(UInt32.self, at: 44) == check.second
        else { return nil }
        let size = Int(raw.native(UInt16.self, at: 14))
        guard let pageSize = PageSize(bytes: (size & 0xfe00) | (size & 1) << 16) else { return nil }
        return Header(
          change: raw.native(UInt32.self, at: 8),
          bigEndianSums: raw[13] == 1,
          pageSize: pageSize,
          frames: raw.native(UInt32.self, at: 16),
          pages: raw.native(UInt32.self, at: 20),
          sum: WALSum(
            first: raw.native(UInt32.self, at: 24),
            second: raw.native(UInt32.self, at: 28)
          ),
          salt1: raw.bigEndian(UInt32.self, at: 32),
          salt2: raw.bigEndian(UInt32.self, at: 36)
        )
      }
      guard let decoded else { return nil }
      self = decoded
    }

    init(
      change: UInt32 = 0,
      bigEndianSums: Bool = UInt32(1).bigEndian == 1,
      pageSize: PageSize,
      frames: UInt32,
      pages: UInt32,
      sum: WALSum,
      salt1: UInt32,
      salt2: UInt32
    ) {
      self.change = change
      self.bigEndianSums = bigEndianSums
      self.pageSize = pageSize
      self.frames = frames
      self.pages = pages
      self.sum = sum
      self.salt1 = salt1
      self.salt2 = salt2
    }
  }

  /// The header, where both copies agree and are valid.
  func header() throws(StoreError) -> Header? {
    guard try memory.size() >= SharedMemory.regionBytes else { return nil }
    let first = memory.read(0..<Self.headerBytes)
    guard first == memory.read(Self.headerBytes..<(2 * Self.headerBytes)) else { return nil }
    return Header(first)
  }

  /// The last valid frame, without a check: cheap, for comparing.
  var frames: UInt32 { memory.load32(16) }

  /// Whether its salts are those of a write-ahead log, without a check.
  func isOf(_ wal: WALHeader) -> Bool {
    memory.load32(32) == wal.salt1.bigEndian && memory.load32(36) == wal.salt2.bigEndian
  }

  /// Publishes a header: from here on readers see its frames.
  func publish(_ header: Header) {
    var next = header
    next.change = memory.load32(8) &+ 1
    let bytes = next.encoded()
    memory.write(bytes, at: Self.headerBytes)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    memory.write(bytes, at: 0)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  // MARK: Checkpoint information

  var backfilled: UInt32 {
    get { memory.load32(96) }
    nonmutating set { memory.store32(newValue, 96) }
  }

  var backfillAttempted: UInt32 {
    get { memory.load32(128) }
    nonmutating set { memory.store32(newValue, 128) }
  }

  func readMark(_ slot: Int) -> UInt32 { memory.load32(100 + 4 * slot) }

  func setReadMark(_ slot: Int, _ value: UInt32) { memory.store32(value, 100 + 4 * slot) }

  /// Sets marks as after a log was begun anew: slot 1 at zero, the others unused.
  func resetCheckpointInformation() {
    backfilled = 0
    backfillAttempted = 0
    setReadMark(0, 0)
    setReadMark(1, 0)
    for slot in 2...4 { setReadMark(slot, Self.unusedMark) }
  }

  // MARK: Frames

  /// Where a frame's region begins, where in it the page numbers stand, and its place among them.
  private func place(of frame: UInt32) -> (region: Int, array: Int, slot: Int) {
    let zeroBased = Int(frame) - 1
    if zeroBased < Self.firstEntries { return (0, Self.firstArray, zeroBased) }
    let rest = zeroBased - Self.firstEntries
    let region = (1 + rest / Self.entries) * SharedMemory.regionBytes
    return (region, region, rest % Self.entries)
  }

  /// The pages of frames that the header calls valid; nil where the file of the index does not have
  /// them, whatever its header says.
  func pages(_ frames: ClosedRange<UInt32>) throws(StoreError) -> [UInt32]? {
    let last = place(of: frames.upperBound)
    guard frames.lowerBound > 0, try memory.size() >= last.region + SharedMemory.regionBytes else {
      return nil
    }
    var pages: [UInt32] = []
    for frame in frames {
      let (_, array, slot) = place(of: frame)
      let page = memory.load32(array + 4 * slot)
      guard page > 0 else { return nil }
      pages.append(page)
    }
    return pages
  }

  /// Adds frames behind `last`, which must be the last valid one, without publishing them.
  ///
  /// - Throws: `.corrupt` where the file ends before that frame. Its header, which any process that
  ///   has the database open can write, says what it likes, and what lies behind the end of a
  ///   mapped file must not be touched.
  func append(_ pages: [UInt32], after last: UInt32) throws(StoreError) {
    guard last <= UInt32.max - UInt32(clamping: pages.count) else {
      throw StoreError(.unsupported, "the write-ahead log has too many frames for its index")
    }
    if last > 0 {
      guard try memory.size() >= place(of: last).region + SharedMemory.regionBytes else {
        throw StoreError(.corrupt, "a wal-index ends before frame \(last), which its header names")
      }
      removeBehind(last)
    }
    for (offset, page) in pages.enumerated() {
      let frame = last + UInt32(offset) + 1
      let (region, array, slot) = place(of: frame)
      if slot == 0 {
        try memory.grow(to: region + SharedMemory.regionBytes)
        memory.zero(array..<(region + SharedMemory.regionBytes))
      }
      memory.store32(page, array + 4 * slot)
      var key = Int(truncatingIfNeeded: (UInt64(page) &* 383) & UInt64(Self.hashSlots - 1))
      var tries = 0
      while memory.load16(region + Self.hashOffset + 2 * key) != 0, tries < Self.hashSlots {
        key = (key + 1) & (Self.hashSlots - 1)
        tries += 1
      }
      memory.store16(UInt16(slot + 1), region + Self.hashOffset + 2 * key)
    }
  }

  /// Removes what a writer that did not come to commit left behind the last valid frame.
  private func removeBehind(_ last: UInt32) {
    let (region, array, slot) = place(of: last)
    let limit = UInt16(slot + 1)
    let entries = region == 0 ? Self.firstEntries : Self.entries
    guard slot + 1 < entries, memory.load32(array + 4 * (slot + 1)) != 0 else { return }
    for key in 0..<Self.hashSlots {
      let at = region + Self.hashOffset + 2 * key
      if memory.load16(at) > limit { memory.store16(0, at) }
    }
    memory.zero((array + 4 * (slot + 1))..<(array + 4 * entries))
  }
}

extension WALIndex.Header {
  /// What an index says of the frames of a write-ahead log up to one of them.
  ///
  /// - Parameters:
  ///   - pages: of the database after it.
  ///   - sum: the running checksum of that frame.
  init(of wal: WALHeader, frames: UInt32, pages: UInt32, sum: WALSum) {
    self.init(
      bigEndianSums: wal.bigEndianSums,
      pageSize: wal.pageSize,
      frames: frames,
      pages: pages,
      sum: sum,
      salt1: wal.salt1,
      salt2: wal.salt2
    )
  }
}
