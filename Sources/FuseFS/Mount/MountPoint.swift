internal import CFuse3
internal import Glibc
internal import Logging
internal import Store

/// The directory to mount at: made when it is missing, and freed of what a killed daemon left.
struct MountPoint: Sendable {
  /// As the kernel spells it.
  let path: String

  /// How long a mount may take to answer before it counts as silent, in seconds.
  private static let patience = 3.0
  /// Mounts on top of each other at one place; more than a few means that cleaning does not help.
  private static let maxStacked = 16

  /// - Throws: `.invalid` when the path cannot be a mount point.
  init(_ directory: String) throws(FuseError) {
    guard directory.hasPrefix("/") else {
      throw FuseError(.invalid, "the mount point \(directory) must be an absolute path")
    }
    var trimmed = directory[...]
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    guard trimmed.count > 1, let slash = trimmed.lastIndex(of: "/") else {
      throw FuseError(.invalid, "the root directory cannot be the mount point")
    }
    let parent = slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    do {
      try SystemDisk().makeDirectory(parent)
    } catch {
      throw FuseError(.invalid, "the mount point's directory cannot be made", cause: error)
    }
    // A dead mount answers nothing, but the directory it covers has a path all the same.
    let last = trimmed[trimmed.index(after: slash)...]
    if let resolved = Self.resolved(String(trimmed)) {
      path = resolved
    } else if let resolved = Self.resolved(parent) {
      path = resolved == "/" ? "/\(last)" : "\(resolved)/\(last)"
    } else {
      throw FuseError(.invalid, "the mount point \(directory) cannot be resolved", number: errno)
    }
  }

  private static func resolved(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// Makes the directory, after what a killed daemon left there is gone.
  ///
  /// - Throws: `.busy` when a mount that still works is in the way; it is not touched.
  func prepare(logger: Logger) throws(FuseError) {
    try clean(logger: logger)
    do {
      try SystemDisk().makeDirectory(path)
    } catch {
      throw FuseError(.invalid, "the mount point cannot be made", cause: error)
    }
  }

  private func clean(logger: Logger) throws(FuseError) {
    for _ in 0..<Self.maxStacked {
      // Of other kinds (a volume, say) nothing is in the way: the mount goes on top.
      guard let entry = MountTable.read().last(at: path), entry.isFuse else { return }
      let connection = FuseConnection(number: entry.minor)
      switch health() {
      case .dead:
        break
      case .answers:
        throw FuseError(
          .busy,
          "\(path) is in use: a file system of type \(entry.type) is mounted there and works. "
            + "Stop the process that serves it, or choose another directory"
        )
      case .silent:
        guard entry.isHalite, connection.livingServers()?.isEmpty == true else {
          throw FuseError(
            .busy,
            "the file system of type \(entry.type) at \(path) does not answer. If its process is "
              + "gone for good: echo 1 > /sys/fs/fuse/connections/\(entry.minor)/abort; "
              + "umount -l \(path)"
          )
        }
      }
      logger.notice(
        "removing the mount a killed process left",
        metadata: ["directory": "\(path)"]
      )
      // Whoever still waits in it gets an error now, and a dead daemon can end.
      _ = connection.abort()
      try detach()
    }
    throw FuseError(.busy, "too many mounts lie on top of each other at \(path)")
  }

  private enum Health { case answers, dead, silent }

  /// Asks on a thread of its own, which may never come back.
  private func health() -> Health {
    let answer = Condition<Health?>(nil)
    let asked: Void? = try? NativeThread.start { [path] in
      // Not `stat`: the kernel remembers attributes of directories for a while, also of a dead mount.
      var status = statvfs()
      let result = statvfs(path, &status)
      let isDead = result != 0 && (errno == ENOTCONN || errno == ECONNABORTED)
      answer.update { $0 = isDead ? .dead : .answers }
    }
    guard asked != nil else { return .silent }
    return answer.wait(seconds: Self.patience) { $0 } ?? .silent
  }

  // MARK: Unmounting

  /// Takes the mount down if nobody uses it.
  ///
  /// - Returns: the errno of a failure; EBUSY when it is in use.
  func unmount() -> Int32? {
    if umount2(path, Int32(UMOUNT_NOFOLLOW)) == 0 { return nil }
    let number = errno
    guard number == EPERM else { return number }
    return Fusermount.unmount(path, lazily: false) ? nil : EBUSY
  }

  /// Takes the mount out of sight; those who use it keep it until they let go.
  func detach() throws(FuseError) {
    if umount2(path, Int32(MNT_DETACH) | Int32(UMOUNT_NOFOLLOW)) == 0 { return }
    let number = errno
    if number == EPERM, Fusermount.unmount(path, lazily: true) { return }
    throw FuseError(.failed, "cannot unmount \(path)", number: number)
  }
}
