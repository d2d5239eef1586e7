@testable import Store

/// The content of a database as its files say it, found the plainest way: the main file, and over
/// it whatever transactions the write-ahead log holds, judged from its first byte to its last.
///
/// Written without a look at the code it is to check.
struct CommittedImage {
  /// One frame of the log as the scan met it.
  struct Frame: Equatable {
    var page: Int
    var commit: Int
    var offset: Int
  }

  var bytes: [UInt8]
  var pageSize: Int

  /// Only valid while no rollback-journal transaction is under way.
  init(path: String) throws {
    bytes = try StoreTests.bytes(ofFile: path)
    pageSize = 0
    if let wal = try? StoreTests.bytes(ofFile: path + "-wal"), wal.count >= 32 {
      pageSize = Self.word(wal, 8)
      let published = Self.published(path, wal)
      for transaction in Self.transactions(wal, published: published) {
        var size = 0
        for frame in transaction {
          let end = frame.page * pageSize
          if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
          bytes.replaceSubrange(
            (end - pageSize)..<end,
            with: wal[frame.offset..<(frame.offset + pageSize)]
          )
          if frame.commit > 0 { size = frame.commit * pageSize }
        }
        if bytes.count < size { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
        bytes.removeLast(bytes.count - size)
      }
    }
    if bytes.count >= 100 {
      let size = Int(bytes[16]) << 8 | Int(bytes[17])
      pageSize = size == 1 ? 65_536 : size
    }
  }

  /// The last frame that the wal-index shows. SQLite up to 3.50 can leave frames with wrong
  /// checksums before it, which readers use all the same.
  private static func published(_ path: String, _ wal: [UInt8]) -> Int {
    guard let index = try? StoreTests.bytes(ofFile: path + "-shm"), index.count >= 32 << 10,
      index[12] == 1, index[32..<40].elementsEqual(wal[16..<24])
    else { return 0 }
    return index[16..<20].reversed().reduce(0) { $0 << 8 | Int($1) }
  }

  /// The committed transactions of a log: frames with valid checksums up to each commit.
  static func transactions(_ wal: [UInt8], published: Int = 0) -> [[Frame]] {
    guard wal.count >= 32, word(wal, 0) & ~1 == 0x377f_0682, word(wal, 4) == 3_007_000 else {
      return []
    }
    let big = word(wal, 0) & 1 == 1
    let pageSize = word(wal, 8)
    var sum = checksum((0, 0), wal[0..<24], big)
    guard Int(sum.0) == word(wal, 24), Int(sum.1) == word(wal, 28) else { return [] }
    var found: [[Frame]] = []
    var open: [Frame] = []
    var at = 32
    var isBroken = false
    var count = 0
    while at + 24 + pageSize <= wal.count {
      let isOfThisLog = wal[(at + 8)..<(at + 16)].elementsEqual(wal[16..<24])
      guard isOfThisLog || count < published, word(wal, at) > 0 else { break }
      sum = checksum(sum, wal[at..<(at + 8)], big)
      sum = checksum(sum, wal[(at + 24)..<(at + 24 + pageSize)], big)
      let isValid = Int(sum.0) == word(wal, at + 16) && Int(sum.1) == word(wal, at + 20)
      if !isValid { isBroken = true }
      count += 1
      guard !isBroken || count <= published else { break }
      open.append(Frame(page: word(wal, at), commit: word(wal, at + 4), offset: at + 24))
      if word(wal, at + 4) > 0 {
        found.append(open)
        open = []
      }
      at += 24 + pageSize
    }
    return found
  }

  private static func word(_ bytes: [UInt8], _ at: Int) -> Int {
    bytes[at..<(at + 4)].reduce(0) { $0 << 8 | Int($1) }
  }

  private static func checksum(
    _ start: (UInt32, UInt32),
    _ bytes: ArraySlice<UInt8>,
    _ big: Bool
  ) -> (UInt32, UInt32) {
    bytes.withUnsafeBytes { raw in
      var (a, b) = start
      for at in stride(from: 0, to: raw.count, by: 8) {
        let x = raw.loadUnaligned(fromByteOffset: at, as: UInt32.self)
        let y = raw.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self)
        a = a &+ (big ? x.bigEndian : x.littleEndian) &+ b
        b = b &+ (big ? y.bigEndian : y.littleEndian) &+ a
      }
      return (a, b)
    }
  }
}
