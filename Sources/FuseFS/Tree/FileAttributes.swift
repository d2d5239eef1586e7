internal import CFuse3
internal import Glibc

/// What tells a file from every other, also from a later one that got the same inode number.
struct FileIdentity: Hashable, Sendable {
  var device: UInt64
  var inode: UInt64
  /// When the file was made, in nanoseconds; zero where the file system does not keep it.
  var birth: Int64
}

/// What `statx` tells about a file.
struct FileAttributes: Sendable {
  struct Time: Sendable {
    var seconds: Int64
    var nanoseconds: UInt32
  }

  var identity: FileIdentity
  var mode: UInt32
  var links: UInt32
  var uid: UInt32
  var gid: UInt32
  /// Bytes.
  var size: UInt64
  /// Units of 512 bytes.
  var blocks: UInt64
  var blockSize: UInt32
  var device: UInt32
  var accessed: Time
  var modified: Time
  var changed: Time

  /// How long the kernel may rely on a name and its attributes without asking, in seconds.
  ///
  /// Files change behind its back when a replica applies, so it asks each time unless the store knows
  /// better (`MountBackend.stability`). Of a directory it needs owner and mode at every step of a path, and those
  /// change through the mount alone, which the kernel sees; what the daemon changes (the time of
  /// modification) may show a second late.
  func validity(stability: Double) -> Double { isDirectory ? 1 : isRegular ? stability : 0 }

  var isRegular: Bool { mode & S_IFMT == S_IFREG }
  var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
}

extension FileAttributes {
  init(_ status: halite_statx) {
    let birth = status.birth
    identity = FileIdentity(
      device: UInt64(status.dev_major) << 32 | UInt64(status.dev_minor),
      inode: status.inode,
      birth: birth.seconds &* 1_000_000_000 &+ Int64(birth.nanoseconds)
    )
    mode = UInt32(status.mode)
    links = status.links
    uid = status.uid
    gid = status.gid
    size = status.size
    blocks = status.blocks
    blockSize = status.block_size
    device = (status.rdev_minor & 0xff) | status.rdev_major << 8 | (status.rdev_minor & ~0xff) << 12
    accessed = Time(status.access)
    modified = Time(status.modification)
    changed = Time(status.change)
  }

  /// A file the node makes up; its inode number only has to differ from its neighbours'.
  init(virtual size: Int, modified nanoseconds: Int64, mode bits: UInt32, inode: UInt64) {
    let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let time = Time(seconds: seconds, nanoseconds: UInt32(max(rest, 0)))
    identity = FileIdentity(device: 0, inode: inode, birth: 0)
    mode = S_IFREG | (bits & 0o7777)
    links = 1
    uid = geteuid()
    gid = getegid()
    self.size = UInt64(size)
    blocks = 0
    blockSize = 4096
    device = 0
    (accessed, modified, changed) = (time, time, time)
  }

  var status: stat {
    var status = stat()
    status.st_ino = UInt(identity.inode)
    status.st_mode = mode
    status.st_nlink = UInt(links)
    status.st_uid = uid
    status.st_gid = gid
    status.st_rdev = UInt(device)
    status.st_size = Int(truncatingIfNeeded: size)
    status.st_blocks = Int(truncatingIfNeeded: blocks)
    status.st_blksize = Int(blockSize)
    status.st_atim = accessed.specification
    status.st_mtim = modified.specification
    status.st_ctim = changed.specification
    return status
  }

  /// The kernel's form, for replies that libfuse has no function for.
  var kernelForm: halite_attr {
    halite_attr(
      inode: identity.inode,
      size: size,
      blocks: blocks,
      atime: UInt64(bitPattern: accessed.seconds),
      mtime: UInt64(bitPattern: modified.seconds),
      ctime: UInt64(bitPattern: changed.seconds),
      atime_nanoseconds: accessed.nanoseconds,
      mtime_nanoseconds: modified.nanoseconds,
      ctime_nanoseconds: changed.nanoseconds,
      mode: mode,
      links: links,
      uid: uid,
      gid: gid,
      device: device,
      block_size: blockSize,
      flags: 0
    )
  }
}

extension FileAttributes.Time {
  fileprivate init(_ time: halite_statx_time) {
    self.init(seconds: time.seconds, nanoseconds: time.nanoseconds)
  }

  fileprivate var specification: timespec {
    timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
  }
}
