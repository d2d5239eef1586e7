/// What is wrong with an LTX file, or with a request to write one.
package struct LTXError: Error, Sendable {
  /// The kind of failure.
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case invalid, corrupt, truncated, mismatch, unsupported, unreadable
    }
    private let kind: Kind

    /// The caller asked for a file that the format does not allow.
    package static let invalid = Code(kind: .invalid)
    /// The bytes break a rule of the format.
    package static let corrupt = Code(kind: .corrupt)
    /// The bytes end too early.
    package static let truncated = Code(kind: .truncated)
    /// A checksum differs, or files do not follow each other.
    package static let mismatch = Code(kind: .mismatch)
    /// A revision or feature of the format that is not known here.
    package static let unsupported = Code(kind: .unsupported)
    /// The source of the bytes failed; `cause` says how.
    package static let unreadable = Code(kind: .unreadable)
  }

  package var code: Code
  /// What is wrong, where in the file, and what can be done.
  package var message: String
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }
}

extension LTXError: CustomStringConvertible {
  package var description: String {
    if let cause { return "\(message): \(cause)" }
    return message
  }
}
