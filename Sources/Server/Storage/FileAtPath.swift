import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// What a path leads to at the moment.
enum FileAtPath: Equatable, Sendable {
  /// Device and inode, which no other file has while this one is open.
  case file(device: UInt64, inode: UInt64)
  case missing
  /// The file system under it is gone; the errno.
  case unreachable(Int32)
  /// Another error, which says nothing about the file.
  case unknown(Int32)

  /// What a file system says whose server died, or whose device went away: nothing that is open on it works again.
  private static let gone: Set = [ENOTCONN, ECONNABORTED, EIO, ESTALE, ENODEV, ENXIO]

  static func look(_ path: String) -> FileAtPath {
    var information = stat()
    guard stat(path, &information) != 0 else {
      return .file(
        device: UInt64(truncatingIfNeeded: information.st_dev),
        inode: UInt64(truncatingIfNeeded: information.st_ino)
      )
    }
    let error = errno
    if error == ENOENT || error == ENOTDIR { return .missing }
    return gone.contains(error) ? .unreachable(error) : .unknown(error)
  }
}

/// A file that is open, by the path that led to it.
struct OpenedFile: Sendable {
  let path: String
  let identity: FileAtPath

  /// Why what is open is no longer what is at the path; nil while it is, as far as anybody can tell.
  func loss() -> String? {
    switch FileAtPath.look(path) {
    case identity, .unknown: nil
    case .file: "\(path) is no longer the file that was open"
    case .missing: "\(path) does not exist any more"
    case .unreachable(let error):
      "\(path) is on a file system that is gone (\(String(cString: strerror(error))))"
    }
  }
}
