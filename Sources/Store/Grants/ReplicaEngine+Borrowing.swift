import LTX
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

  var followedTerm: Term? { state.withLock { $0.term } }

  func dismissWriters(of name: String) { borrowing.dismissWriters(of: name) }

  /// Whether a database is as the log says up to an entry.
  func hasApplied(_ name: String, through index: LogIndex) -> Bool {
    state.withLock { state in
      state.enqueued >= index && !state.repairs.contains(name) && !state.entering.contains(name)
        && state.waiting[name].map { $0 > index } ?? true
    }
  }

  /// Whether entries of a database wait to be applied.
  func isBehind(_ name: String) -> Bool { state.withLock { $0.waiting[name] != nil } }

  package func disconnected() { borrowing.disconnected() }

  /// The databases that clients of this node write at the moment.
  package var borrowedDatabases: [String] { borrowing.borrowed }
}

extension Store {
  /// The term of the primary that this node follows; nil where only one node can be it, or this one follows nobody.
  var followedTerm: Term? { state.withLock { $0.engine }?.followedTerm }
}
