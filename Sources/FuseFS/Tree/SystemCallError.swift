internal import Glibc

/// The errno of a failed system call, on its way to the kernel as the answer to a request.
struct SystemCallError: Error, Hashable, Sendable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  /// The error of the call that has just failed on this thread.
  static var last: SystemCallError { SystemCallError(errno) }
}

extension SystemCallError {
  /// The kernel named a file that is not where it was; it looks the path up again.
  static let stale = SystemCallError(ESTALE)
  static let badHandle = SystemCallError(EBADF)
  static let notPermitted = SystemCallError(EPERM)
}
