import Synchronization

extension ReplicaEngine {
  /// The primary can be asked for grants, until `disconnected`.
  ///
  /// - Parameter last: the last entry of the primary's log when it was reached.
  package func connected(
    through last: LogIndex,
    send: @escaping @Sendable (GrantRequest) -> Void
  ) {
    borrowing.connected(through: last, send: send)
  }

  package func received(_ answer: GrantAnswer) { borrowing.received(answer) }

  func dismissWriters(of name: String) { borrowing.dismissWriters(of: name) }

  /// Whether entries of a database wait to be applied.
  func isBehind(_ name: String) -> Bool { state.withLock { $0.waiting[name] != nil } }

  package func disconnected() { borrowing.disconnected() }

  /// The databases that clients of this node write at the moment.
  package var borrowedDatabases: [String] { borrowing.borrowed }
}
