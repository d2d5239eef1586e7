import Synchronization

/// Whether what was written to a database's rollback journal is on stable storage, so that a crash undoes the
/// transaction that writes it.
final class JournalDurability: Sendable {
  private struct State: Sendable {
    /// Writes since the journal began, zero where there is none.
    var writes: UInt64 = 0
    /// How many of them were there before the last sync that succeeded.
    var synced: UInt64 = 0
    /// Tells journals apart.
    var generation: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Whether there is a journal, and all of it was synced.
  var isDurable: Bool { state.withLock { $0.writes > 0 && $0.synced == $0.writes } }

  /// The journal is about to be written.
  func willChange() { state.withLock { $0.writes += 1 } }

  /// The journal is about to end.
  func willEnd() {
    state.withLock { $0 = State(generation: $0.generation + 1) }
  }

  /// Performs a sync of the journal.
  func sync(_ body: () throws(StoreError) -> Void) throws(StoreError) {
    // What is written meanwhile may be missing.
    let before = state.withLock { $0 }
    try body()
    state.withLock { state in
      if state.generation == before.generation { state.synced = before.writes }
    }
  }
}
