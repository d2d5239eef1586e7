/// What went wrong in the store, on which file or database, and what an operator can do.
package struct StoreError: Error, Sendable {
  /// The kind of failure; the mount answers the kernel with an errno made from it.
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case notFound, exists, readOnly, full, busy, corrupt, invalid, unsupported, diverged
      case stopped
      case system(Int32)
    }
    private let kind: Kind

    package static let notFound = Code(kind: .notFound)
    package static let exists = Code(kind: .exists)
    /// This node may not write: it is a replica, or it has stopped taking writes.
    package static let readOnly = Code(kind: .readOnly)
    package static let full = Code(kind: .full)
    package static let busy = Code(kind: .busy)
    /// Bytes on disk or from a peer that are not what their format demands.
    package static let corrupt = Code(kind: .corrupt)
    package static let invalid = Code(kind: .invalid)
    package static let unsupported = Code(kind: .unsupported)
    /// A transaction does not follow from the local state of its database.
    package static let diverged = Code(kind: .diverged)
    package static let stopped = Code(kind: .stopped)
    /// A system call failed with this errno.
    package static func system(_ number: Int32) -> Code { Code(kind: .system(number)) }

    /// The errno of a failed system call, or nil.
    package var systemNumber: Int32? {
      if case .system(let number) = kind { return number }
      return nil
    }
  }

  package var code: Code
  package var message: String
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }
}

extension StoreError: CustomStringConvertible {
  package var description: String {
    if let cause { return "\(message): \(cause)" }
    return message
  }
}
