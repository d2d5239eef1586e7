#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The disk of this machine.
///
/// Errors carry the errno as `.system`, except a full disk or quota (`.full`), which the store
/// answers in its own way. What is missing is `.system(ENOENT)`; only `information` has nil for it.
package struct SystemDisk: Disk {
  /// Permission bits of files and directories made here, before the process's umask.
  private static let fileMode: mode_t = 0o644
  private static let directoryMode: mode_t = 0o755
  private static let sharedMode: mode_t = 0o666

  package init() {}

  package func open(
    _ path: String,
    _ options: DiskOpenOptions
  ) throws(StoreError) -> any DiskFile {
    var flags = O_CLOEXEC | (options.contains(.write) ? O_RDWR : O_RDONLY)
    if options.contains(.create) { flags |= O_CREAT }
    if options.contains(.exclusive) { flags |= O_EXCL }
    if options.contains(.truncate) { flags |= O_TRUNC }
    let descriptor = retrying { systemOpen(path, flags, Self.fileMode) }
    guard descriptor >= 0 else { throw systemError(errno, "cannot open \(path)") }
    return SystemFile(descriptor: descriptor, path: path)
  }

  package func rename(_ source: String, to target: String) throws(StoreError) {
    guard systemRename(source, target) == 0 else {
      throw systemError(errno, "cannot rename \(source) to \(target)")
    }
  }

  package func remove(_ path: String) throws(StoreError) {
    guard SystemPath.withBytes(path, { unlink($0) }) == 0 else {
      throw systemError(errno, "cannot remove \(path)")
    }
  }

  package func list(_ directory: String) throws(StoreError) -> [String] {
    guard let stream = SystemPath.withBytes(directory, { opendir($0) }) else {
      throw systemError(errno, "cannot list \(directory)")
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = entryName(entry)
      if name != ".", name != ".." { names.append(name) }
    }
    guard errno == 0 else { throw systemError(errno, "cannot list \(directory)") }
    return names.sorted()
  }

  package func makeDirectory(_ path: String) throws(StoreError) {
    if systemMakeDirectory(path, Self.directoryMode) == 0 { return }
    switch errno {
    case EEXIST:
      guard try information(path)?.isDirectory == true else {
        throw systemError(ENOTDIR, "\(path) is in the way of a directory")
      }
    case ENOENT:
      guard let parent = parentDirectory(path) else {
        throw systemError(ENOENT, "cannot make the directory \(path)")
      }
      try makeDirectory(parent)
      // Another process may have made it meanwhile, which is just as good.
      guard systemMakeDirectory(path, Self.directoryMode) == 0 || errno == EEXIST else {
        throw systemError(errno, "cannot make the directory \(path)")
      }
    case let number:
      throw systemError(number, "cannot make the directory \(path)")
    }
  }

  package func share(_ path: String, like model: String) throws(StoreError) {
    var status = stat()
    guard systemStatus(model, &status) == 0 else {
      throw systemError(errno, "cannot look at \(model)")
    }
    guard SystemPath.withBytes(path, { chmod($0, Self.sharedMode) }) == 0 else {
      throw systemError(errno, "cannot set the permissions of \(path)")
    }
    try giveOwner(of: status, to: path)
  }

  /// Without privilege the owner is this process's user, as it is of all else here.
  func giveOwner(of model: stat, to path: String) throws(StoreError) {
    let (user, group) = (model.st_uid, model.st_gid)
    guard SystemPath.withBytes(path, { chown($0, user, group) }) == 0 || errno == EPERM else {
      throw systemError(errno, "cannot set the owner of \(path)")
    }
  }

  package func syncDirectory(_ path: String) throws(StoreError) {
    let descriptor = retrying { systemOpen(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) }
    guard descriptor >= 0 else { throw systemError(errno, "cannot open the directory \(path)") }
    defer { close(descriptor) }
    guard retrying({ fsync(descriptor) }) == 0 else {
      throw systemError(errno, "cannot make the entries of \(path) durable")
    }
  }

  package func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    var status = stat()
    if systemStatus(path, &status) == 0 { return DiskFileInformation(status) }
    // A file as a parent directory means that nothing can be below it.
    if errno == ENOENT || errno == ENOTDIR { return nil }
    throw systemError(errno, "cannot inspect \(path)")
  }

  package func available(_ directory: String) throws(StoreError) -> Int64 {
    var status = statvfs()
    guard SystemPath.withBytes(directory, { statvfs($0, &status) }) == 0 else {
      throw systemError(errno, "cannot inspect the file system of \(directory)")
    }
    let (bytes, overflow) = UInt64(status.f_bavail)
      .multipliedReportingOverflow(by: UInt64(status.f_frsize))
    return overflow ? .max : Int64(clamping: bytes)
  }

  /// The path above, or nil for the root and for a bare name.
  func parentDirectory(_ path: String) -> String? {
    var trimmed = path[...]
    while trimmed.hasSuffix("/"), trimmed.count > 1 { trimmed.removeLast() }
    guard let slash = trimmed.lastIndex(of: "/"), slash > trimmed.startIndex else { return nil }
    return String(trimmed[..<slash])
  }
}

/// An open file of the real disk.
private final class SystemFile: DiskFile {
  let descriptor: Int32
  private let path: String

  init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit { close(descriptor) }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    at offset: Int64
  ) throws(StoreError) -> Int {
    guard let base = buffer.baseAddress else { return 0 }
    var done = 0
    while done < buffer.count {
      let count = pread(
        descriptor,
        base + done,
        buffer.count - done,
        off_t(offset) + off_t(done)
      )
      if count > 0 {
        done += count
      } else if count == 0 {
        break
      } else if errno != EINTR {
        throw systemError(errno, "cannot read \(path) at byte \(offset)")
      }
    }
    return done
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor,
        base + done,
        bytes.count - done,
        off_t(offset) + off_t(done)
      )
      if count >= 0 {
        done += count
      } else if errno != EINTR {
        throw systemError(errno, "cannot write \(path) at byte \(offset)")
      }
    }
  }

  func truncate(to size: Int64) throws(StoreError) {
    guard retrying({ ftruncate(descriptor, off_t(size)) }) == 0 else {
      throw systemError(errno, "cannot set the size of \(path) to \(size) bytes")
    }
  }

  func sync() throws(StoreError) {
    #if canImport(Darwin)
      let result = retrying { fsync(descriptor) }
    #else
      let result = retrying { fdatasync(descriptor) }
    #endif
    guard result == 0 else { throw systemError(errno, "cannot make \(path) durable") }
  }

  func information() throws(StoreError) -> DiskFileInformation {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw systemError(errno, "cannot inspect \(path)")
    }
    return DiskFileInformation(status)
  }
}

extension DiskFileInformation {
  fileprivate init(_ status: stat) {
    #if canImport(Darwin)
      let time = status.st_mtimespec
    #else
      let time = status.st_mtim
    #endif
    self.init(
      device: UInt64(truncatingIfNeeded: status.st_dev),
      inode: UInt64(status.st_ino),
      size: Int64(status.st_size),
      modified: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec),
      isDirectory: status.st_mode & S_IFMT == S_IFDIR
    )
  }
}

/// The error of a failed system call; `what` says what was tried and on which path.
func systemError(_ number: Int32, _ what: String) -> StoreError {
  let reason = String(cString: strerror(number))
  if number == ENOSPC || number == EDQUOT {
    return StoreError(.full, "\(what): \(reason); make room on the disk or raise the quota")
  }
  return StoreError(.system(number), "\(what): \(reason)")
}

/// Repeats a call for as long as a signal interrupts it.
private func retrying(_ call: () -> Int32) -> Int32 {
  while true {
    let result = call()
    if result != -1 || errno != EINTR { return result }
  }
}

/// The name in a directory entry, whose field the importer shows as a tuple.
private func entryName(_ entry: UnsafeMutablePointer<dirent>) -> String {
  withUnsafePointer(to: &entry.pointee.d_name) { pointer in
    pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: pointer.pointee))
    { SystemPath.text($0) }
  }
}

// `SystemDisk` and `SystemFile` have methods of the same names, which hide the global functions.
private func systemOpen(_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 {
  SystemPath.withBytes(path) { open($0, flags, mode) }
}

private func systemRename(_ source: String, _ target: String) -> Int32 {
  SystemPath.withBytes(source) { source in
    SystemPath.withBytes(target) { rename(source, $0) }
  }
}

private func systemMakeDirectory(_ path: String, _ mode: mode_t) -> Int32 {
  SystemPath.withBytes(path) { mkdir($0, mode) }
}

private func systemStatus(_ path: String, _ status: inout stat) -> Int32 {
  SystemPath.withBytes(path) { stat($0, &status) }
}
