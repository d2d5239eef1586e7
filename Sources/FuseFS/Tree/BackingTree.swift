internal import CFuse3
internal import Glibc
internal import Store

/// The directory the mount mirrors: the one place of the mount that makes system calls on files.
///
/// Paths are relative to the root, without a leading slash; "" is the root. Every call resolves
/// the directory with openat2 below the root's descriptor and without following symbolic links,
/// and then names the last component only; so nothing outside the tree can be reached, whatever
/// symbolic links an application makes in it (the kernel resolves those itself, on the mount).
final class BackingTree: Sendable {
  let root: String
  private let descriptor: Int32

  init(root: String) throws(SystemCallError) {
    self.root = root
    descriptor = SystemPath.withBytes(root) { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    if descriptor < 0 { throw .last }
  }

  deinit { close(descriptor) }

  // MARK: Attributes

  func attributes(_ path: String) throws(SystemCallError) -> FileAttributes {
    try at(path) { (directory, name) throws(SystemCallError) in
      try Self.attributes(directory, name)
    }
  }

  static func attributes(of descriptor: Int32) throws(SystemCallError) -> FileAttributes {
    try attributes(descriptor, "")
  }

  private static func attributes(
    _ directory: Int32,
    _ name: UnsafePointer<CChar>
  ) throws(SystemCallError) -> FileAttributes {
    var status = halite_statx()
    guard halite_statx_at(directory, name, &status) == 0 else { throw .last }
    return FileAttributes(status)
  }

  /// The target of a symbolic link.
  func linkTarget(_ path: String) throws(SystemCallError) -> String {
    try at(path) { (directory, name) throws(SystemCallError) in
      var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
      // The last byte stays zero: the system does not end what it writes.
      guard readlinkat(directory, name, &buffer, buffer.count - 1) >= 0 else { throw .last }
      return SystemPath.text(buffer)
    }
  }

  func fileSystem() throws(SystemCallError) -> statvfs {
    var status = statvfs()
    guard fstatvfs(descriptor, &status) == 0 else { throw .last }
    return status
  }

  // MARK: Making and removing

  func makeDirectory(_ path: String, mode: UInt32, owner: FileOwner) throws(SystemCallError) {
    try at(path) { (directory, name) throws(SystemCallError) in
      guard mkdirat(directory, name, mode & 0o1777) == 0 else { throw .last }
      try own(directory, name, owner, mode: mode, isDirectory: true)
    }
  }

  func makeLink(_ path: String, to target: String, owner: FileOwner) throws(SystemCallError) {
    try at(path) { (directory, name) throws(SystemCallError) in
      let result = SystemPath.withBytes(target) { symlinkat($0, directory, name) }
      guard result == 0 else { throw .last }
      try own(directory, name, owner, mode: nil, isDirectory: false)
    }
  }

  /// Makes a fifo or socket; a device would be of no use, since the mount is `nodev`.
  func makeNode(_ path: String, mode: UInt32, owner: FileOwner) throws(SystemCallError) {
    guard mode & S_IFMT == S_IFIFO || mode & S_IFMT == S_IFSOCK else { throw .init(EPERM) }
    try at(path) { (directory, name) throws(SystemCallError) in
      guard mknodat(directory, name, mode, 0) == 0 else { throw .last }
      try own(directory, name, owner, mode: mode, isDirectory: false)
    }
  }

  func makeHardLink(_ path: String, to existing: String) throws(SystemCallError) {
    try at(existing) { (oldDirectory, oldName) throws(SystemCallError) in
      try self.at(path) { (directory, name) throws(SystemCallError) in
        guard linkat(oldDirectory, oldName, directory, name, 0) == 0 else { throw .last }
      }
    }
  }

  func removeDirectory(_ path: String) throws(SystemCallError) {
    try at(path) { (directory, name) throws(SystemCallError) in
      guard unlinkat(directory, name, AT_REMOVEDIR) == 0 else { throw .last }
    }
  }

  // MARK: Opening

  /// A directory to list.
  func openDirectory(_ path: String) throws(SystemCallError) -> Int32 {
    try beneath(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  }

  /// A handle on a file of any kind, good for changing its attributes.
  func openForAttributes(_ path: String) throws(SystemCallError) -> Int32 {
    try beneath(path, Int32(HALITE_O_PATH) | O_NOFOLLOW | O_CLOEXEC)
  }

  private func beneath(_ path: String, _ flags: Int32) throws(SystemCallError) -> Int32 {
    let opened = SystemPath.withBytes(path.isEmpty ? "." : path) {
      halite_open_beneath(descriptor, $0, UInt64(flags), 0)
    }
    guard opened >= 0 else { throw .last }
    return opened
  }

  /// Runs a call with the descriptor of the directory and the last component of a path.
  private func at<Result>(
    _ path: String,
    _ body: (Int32, UnsafePointer<CChar>) throws(SystemCallError) -> Result
  ) throws(SystemCallError) -> Result {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else {
      return try SystemPath.withBytes(path) { (name) throws(SystemCallError) in
        try body(descriptor, name)
      }
    }
    let directory = try beneath(
      String(path[..<slash]),
      Int32(HALITE_O_PATH) | O_DIRECTORY | O_CLOEXEC
    )
    defer { close(directory) }
    let last = String(path[path.utf8.index(after: slash)...])
    return try SystemPath.withBytes(last) { (name) throws(SystemCallError) in
      try body(directory, name)
    }
  }

  /// Gives what was just made to the caller. Below a directory with the set-group-ID bit it takes
  /// the directory's group, and a new directory the bit as well, as on a local file system.
  private func own(
    _ directory: Int32,
    _ name: UnsafePointer<CChar>,
    _ owner: FileOwner,
    mode: UInt32?,
    isDirectory: Bool
  ) throws(SystemCallError) {
    let parent = try Self.attributes(directory, "")
    let inherits = parent.mode & S_ISGID != 0
    let gid = inherits ? parent.gid : owner.gid
    let made = halite_open_beneath(
      directory,
      name,
      UInt64(Int32(HALITE_O_PATH) | O_NOFOLLOW | O_CLOEXEC),
      0
    )
    guard made >= 0 else { throw .last }
    defer { close(made) }
    try Self.setOwner(of: made, uid: owner.uid, gid: gid, mayFail: true)
    guard var mode else { return }
    if inherits, isDirectory { mode |= S_ISGID }
    try Self.setMode(of: made, mode)
  }
}

/// Who asks, and so owns what the request makes.
struct FileOwner: Sendable {
  var uid: UInt32
  var gid: UInt32
}
