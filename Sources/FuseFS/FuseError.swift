internal import Glibc

/// Why the mount could not be made or taken down, and what an operator can do.
package struct FuseError: Error, Sendable {
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable { case unavailable, notPermitted, busy, invalid, failed }
    private let kind: Kind

    /// `/dev/fuse` or fusermount3 is missing.
    package static let unavailable = Code(kind: .unavailable)
    package static let notPermitted = Code(kind: .notPermitted)
    /// Something else is mounted there.
    package static let busy = Code(kind: .busy)
    package static let invalid = Code(kind: .invalid)
    package static let failed = Code(kind: .failed)
  }

  package var code: Code
  package var message: String
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// The error of a system call that failed with `number`.
  init(_ code: Code, _ message: String, number: Int32) {
    self.init(code, "\(message): \(String(cString: strerror(number)))")
  }
}

extension FuseError: CustomStringConvertible {
  package var description: String {
    if let cause { return "\(message): \(cause)" }
    return message
  }
}
