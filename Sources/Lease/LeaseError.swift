/// What went wrong with the lease, and what an operator can do.
package struct LeaseError: Error, Sendable {
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable { case unsupported, invalid, unavailable, lost }
    private let kind: Kind

    /// The kind of lease cannot do this.
    package static let unsupported = Code(kind: .unsupported)
    package static let invalid = Code(kind: .invalid)
    /// The service that keeps the lease, or the majority of voters, cannot be reached.
    package static let unavailable = Code(kind: .unavailable)
    /// Another node holds the lease now.
    package static let lost = Code(kind: .lost)
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

extension LeaseError: CustomStringConvertible {
  package var description: String {
    if let cause { return "\(message): \(cause)" }
    return message
  }
}
