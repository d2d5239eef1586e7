import Synchronization

/// Whether what was written to a database's rollback journal is on stable storage.
final class JournalDurability: Sendable {
  private let writes = Atomic<UInt64>(0)
  private let synced = Atomic<UInt64>(0)

  /// Whether a journal was written, and all of it was synced.
  var isDurable: Bool {
    let last = writes.load(ordering: .acquiring)
    return last > 0 && synced.load(ordering: .acquiring) == last
  }

  /// The journal is about to be written, or to end.
  func willChange() { writes.add(1, ordering: .acquiringAndReleasing) }

  /// Performs a sync of the journal.
  func sync(_ body: () throws(StoreError) -> Void) throws(StoreError) {
    // What is written meanwhile may be missing.
    let before = writes.load(ordering: .acquiring)
    try body()
    synced.store(before, ordering: .releasing)
  }
}
