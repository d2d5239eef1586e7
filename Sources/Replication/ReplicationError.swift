/// What went wrong between two nodes, and what an operator can do.
package struct ReplicationError: Error, Sendable {
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case malformed, protocolViolation, refused(RefusalReason), timeout, closed, behind, store
      case configuration, certificate, address
    }
    private let kind: Kind

    /// Bytes that are not what the wire format demands.
    package static let malformed = Code(kind: .malformed)
    /// A well-formed message that is not allowed here.
    package static let protocolViolation = Code(kind: .protocolViolation)
    /// One of the two nodes does not want to talk to the other.
    package static func refused(_ reason: RefusalReason) -> Code { Code(kind: .refused(reason)) }
    package static let timeout = Code(kind: .timeout)
    package static let closed = Code(kind: .closed)
    /// The replica needs entries that the primary's log no longer holds.
    package static let behind = Code(kind: .behind)
    /// The store behind this node failed; see the cause.
    package static let store = Code(kind: .store)
    package static let configuration = Code(kind: .configuration)
    package static let certificate = Code(kind: .certificate)
    /// An address cannot be resolved, listened on or connected to.
    package static let address = Code(kind: .address)

    /// The reason when one node refused the other.
    package var refusal: RefusalReason? {
      if case .refused(let reason) = kind { return reason }
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

extension ReplicationError: CustomStringConvertible {
  package var description: String {
    if let cause { return "\(message): \(cause)" }
    return message
  }
}
