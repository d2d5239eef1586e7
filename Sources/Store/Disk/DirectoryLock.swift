#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Keeps a data directory to one process: a lock on the file `lock` in it, which the system gives up
/// when the process ends, however it ends.
package final class DirectoryLock: Sendable {
  private let descriptor: Int32

  private init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  private static let mode: mode_t = 0o644

  /// Takes the lock, or fails at once.
  ///
  /// - Parameter making: whether to make the file; without it a directory that no node has used yet
  ///   is left as it is, and there is nothing to lock.
  /// - Throws: `.busy` when another process has it.
  package static func take(
    _ directory: String,
    making: Bool
  ) throws(StoreError) -> DirectoryLock? {
    let path = directory + "/lock"
    let flags = O_CLOEXEC | (making ? O_RDWR | O_CREAT : O_RDONLY)
    let descriptor = SystemPath.withBytes(path) { open($0, flags, mode) }
    guard descriptor >= 0 else {
      if !making, errno == ENOENT || errno == ENOTDIR { return nil }
      throw StoreError(
        .system(errno),
        "cannot open \(path): \(String(cString: strerror(errno)))"
      )
    }
    let lock = DirectoryLock(descriptor)
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      if errno == EINTR { continue }
      guard errno == EWOULDBLOCK else {
        throw StoreError(
          .system(errno),
          "cannot lock \(path): \(String(cString: strerror(errno)))"
        )
      }
      throw StoreError(
        .busy,
        "another process uses the data directory \(directory): a node is running with it, or is "
          + "being examined; stop that first, or give this node its own --data"
      )
    }
    return lock
  }
}
