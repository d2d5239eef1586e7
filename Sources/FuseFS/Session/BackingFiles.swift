internal import CFuse3
internal import Glibc

/// Files registered with the mount's connection, for the kernel to work on by itself
/// (linux/fuse.h, `FUSE_DEV_IOC_BACKING_OPEN`). Needs Linux 6.9 and CAP_SYS_ADMIN.
struct BackingFiles: Sendable {
  /// The connection's descriptor of `/dev/fuse`; it outlives this value.
  private let connection: Int32

  init(connection: Int32) { self.connection = connection }

  func register(_ descriptor: Int32) throws(SystemCallError) -> Int32 {
    let number = halite_backing_open(connection, descriptor)
    guard number > 0 else { throw .last }
    return number
  }

  /// Opens that use the file keep it; the number is free again.
  func unregister(_ number: Int32) {
    _ = halite_backing_close(connection, number)
  }

  /// Whether a file of that directory can be registered: fails without the capability, and where
  /// the directory lies on a stacked file system (overlayfs).
  func accepts(directory: String) -> SystemCallError? {
    // A nameless file: nothing is left behind, whatever happens.
    let file = open(directory, Int32(HALITE_O_TMPFILE) | O_RDWR | O_CLOEXEC, 0o600)
    guard file >= 0 else { return .last }
    defer { close(file) }
    do throws(SystemCallError) {
      unregister(try register(file))
      return nil
    } catch {
      return error
    }
  }
}
