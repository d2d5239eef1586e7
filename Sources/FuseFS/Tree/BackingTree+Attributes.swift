internal import CFuse3
internal import Glibc

/// Changes to files by descriptor, which may be one of `openForAttributes`.
extension BackingTree {
  static func setMode(of descriptor: Int32, _ mode: UInt32) throws(SystemCallError) {
    guard chmod(link(descriptor), mode & 0o7777) == 0 else { throw .last }
  }

  /// Nil leaves the one or the other.
  ///
  /// - Parameter mayFail: whether a daemon without the right to give files away goes on; then what
  ///   it makes for others is its own.
  static func setOwner(
    of descriptor: Int32,
    uid: UInt32?,
    gid: UInt32?,
    mayFail: Bool = false
  ) throws(SystemCallError) {
    let keep = UInt32.max
    let result = fchownat(descriptor, "", uid ?? keep, gid ?? keep, Int32(HALITE_AT_EMPTY_PATH))
    if result == 0 || (mayFail && errno == EPERM) { return }
    throw .last
  }

  /// Gives a file that was just made to the caller; see `own` for the group.
  static func give(
    _ descriptor: Int32,
    to owner: FileOwner,
    mode: UInt32,
    in parent: FileAttributes
  ) throws(SystemCallError) {
    let gid = parent.mode & S_ISGID != 0 ? parent.gid : owner.gid
    let found = try attributes(of: descriptor)
    if found.uid == owner.uid, found.gid == gid, found.mode & 0o7777 == mode & 0o7777 { return }
    try setOwner(of: descriptor, uid: owner.uid, gid: gid, mayFail: true)
    guard fchmod(descriptor, mode & 0o7777) == 0 else { throw .last }
  }

  /// - Parameter times: access and modification, with `UTIME_NOW` or `UTIME_OMIT` where wanted.
  static func setTimes(
    of descriptor: Int32,
    _ times: (timespec, timespec)
  ) throws(SystemCallError) {
    let result = withUnsafePointer(to: times) { pointer in
      pointer.withMemoryRebound(to: timespec.self, capacity: 2) {
        utimensat(AT_FDCWD, link(descriptor), $0, 0)
      }
    }
    guard result == 0 else { throw .last }
  }

  static func allocate(
    _ descriptor: Int32,
    mode: Int32,
    offset: Int64,
    length: Int64
  ) throws(SystemCallError) {
    while halite_fallocate(descriptor, mode, off_t(offset), off_t(length)) != 0 {
      if errno != EINTR { throw .last }
    }
  }

  /// `SEEK_DATA` and `SEEK_HOLE`. The descriptor's own position does not matter to anybody.
  static func seek(
    _ descriptor: Int32,
    offset: Int64,
    whence: Int32
  ) throws(SystemCallError) -> Int64 {
    let result = lseek(descriptor, off_t(offset), whence)
    guard result >= 0 else { throw .last }
    return Int64(result)
  }

  /// Reads what the page cache holds. Nil when the disk would be needed for the rest.
  static func readCached(
    _ descriptor: Int32,
    into buffer: UnsafeMutableRawBufferPointer,
    offset: Int64
  ) -> Int? {
    guard let base = buffer.baseAddress else { return 0 }
    var done = 0
    while done < buffer.count {
      let count = halite_read_cached(
        descriptor,
        base + done,
        buffer.count - done,
        off_t(offset) + off_t(done)
      )
      if count == 0 { break }
      guard count > 0 else { return nil }
      done += count
    }
    return done
  }

  /// A name for the open file itself: chmod and utimensat refuse descriptors made with `O_PATH`.
  private static func link(_ descriptor: Int32) -> String { "/proc/self/fd/\(descriptor)" }
}
