import Glibc
import Synchronization

// Who may append: entries of this node's own only while it is the primary and its lease holds, entries of another
// only while no later term is known here (Ongaro's dissertation, sections 3.3 and 6.4.1).

extension Log {
  /// Takes nothing any more from a primary of a lower term, also not from this node.
  ///
  /// - Returns: the last entry; whatever comes behind it is of this term or a later one.
  @discardableResult
  package func fence(_ term: Term) -> EntryID {
    state.withLock { state in
      state.minTerm = max(state.minTerm, term)
      return state.last
    }
  }

  /// Follows the primary of a term: takes nothing any more of a lower one.
  ///
  /// - Throws: `.readOnly` when a later term is known.
  package func enter(_ term: Term) throws(StoreError) {
    try state.withLock { state throws(StoreError) in try enter(term, &state) }
  }

  func enter(_ term: Term, _ state: inout State) throws(StoreError) {
    guard term >= state.minTerm else { throw outOfOffice() }
    state.minTerm = term
  }

  /// This node appends nothing of its own until it begins another term.
  package func stopWriting() {
    state.withLock { $0.isWriter = false }
    settleCommits()
  }

  /// Tells those who wait for a majority that it is not known what has become of their entries.
  func refuseWaiting() {
    commits.end(
      StoreError(
        .system(EIO),
        "this node ceased to be the primary before a majority of the voters was known to have the "
          + "transaction; look whether it is there before it is made again"
      )
    )
  }

  /// Whether this node is the primary and its lease holds.
  var holdsLease: Bool { state.withLock { $0.isWriter && $0.mayWrite() } }

  /// Says how to ask whether this node may append entries of its own; `body` must be quick.
  package func setLease(_ body: @escaping @Sendable () -> Bool) {
    state.withLock { $0.mayWrite = body }
  }

  /// Why an entry is not taken.
  func outOfOffice() -> StoreError {
    StoreError(
      .readOnly,
      "this node is not the primary any more, or cannot be sure that it is; write on the node that the "
        + "file .primary names"
    )
  }
}
