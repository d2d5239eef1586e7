import Glibc

/// A file mapped shared into memory: how the daemon looks at the wal-index that SQLite's processes
/// share.
///
/// The accessors check bounds and never trap on the offset; a file that another process cuts short
/// can still raise SIGBUS, as it does for SQLite, which is why clients' truncation of a wal-index
/// that the daemon has mapped is refused.
///
/// `@unchecked Sendable`: the pointer and size are set once; the bytes are shared with other processes
/// anyway and are ordered by SQLite's own protocol (locks, and barriers between header copies).
package final class SharedMemory: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  /// Address space reserved, in bytes; the file may be shorter.
  private let reserved: Int
  private let file: any DiskFile

  /// Address space for one wal-index: 4,096 frames take 32 KiB, so this is 128 million frames.
  static let maxBytes = 1 << 30
  static let regionBytes = 32 << 10

  /// Maps `file` for reading and writing.
  package init(_ file: any DiskFile) throws(StoreError) {
    self.file = file
    reserved = Self.maxBytes
    guard
      let base = mmap(
        nil,
        reserved,
        PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_NORESERVE,
        file.descriptor,
        0
      ),
      base != MAP_FAILED
    else {
      throw StoreError(.system(errno), "the shared memory of a database cannot be mapped")
    }
    self.base = base
  }

  deinit { munmap(base, reserved) }

  /// Bytes of the file now.
  func size() throws(StoreError) -> Int { Int(try file.information().size) }

  /// Makes the file at least `bytes` long.
  func grow(to bytes: Int) throws(StoreError) {
    guard bytes <= reserved else {
      throw StoreError(.unsupported, "the write-ahead log has too many frames for its index")
    }
    if try size() < bytes { try file.truncate(to: Int64(bytes)) }
  }

  func load32(_ offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset + 4 <= reserved, "outside the mapping")
    return base.load(fromByteOffset: offset, as: UInt32.self)
  }

  func store32(_ value: UInt32, _ offset: Int) {
    precondition(offset >= 0 && offset + 4 <= reserved, "outside the mapping")
    base.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
  }

  func load16(_ offset: Int) -> UInt16 {
    precondition(offset >= 0 && offset + 2 <= reserved, "outside the mapping")
    return base.load(fromByteOffset: offset, as: UInt16.self)
  }

  func store16(_ value: UInt16, _ offset: Int) {
    precondition(offset >= 0 && offset + 2 <= reserved, "outside the mapping")
    base.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
  }

  func zero(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= reserved, "outside the mapping")
    memset(base + range.lowerBound, 0, range.count)
  }

  func read(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= reserved, "outside the mapping")
    return Array(UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
  }

  func write(_ bytes: [UInt8], at offset: Int) {
    precondition(offset >= 0 && offset + bytes.count <= reserved, "outside the mapping")
    (base + offset).copyMemory(from: bytes, byteCount: bytes.count)
  }
}
