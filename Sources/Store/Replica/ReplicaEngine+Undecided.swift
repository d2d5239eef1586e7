import Synchronization

// A node that starts finds entries in its log of which it does not know whether they are committed, and has
// done them again. Nobody reads such a database until a primary has said that they are, or they are cut and its pages
// have been fetched.

extension ReplicaEngine {
  /// Keeps readers of undecided databases waiting. To be called before there are clients.
  package func holdUndecided() throws(StoreError) {
    let committed = store.log.committed
    for database in store.allDatabases {
      guard database.state.withLock({ $0.entry > committed && $0.pages > 0 }) else { continue }
      guard database.mainLocks.tryLock(.write, MainLock.pending, briefly: true),
        database.mainLocks.tryLock(.write, MainLock.shared, briefly: true)
      else {
        throw StoreError(.busy, "database \(database.name) is in use before the node has started")
      }
      state.withLock { _ = $0.undecided.insert(database.name) }
    }
  }

  /// Lets readers of a database in, if it has been decided. To be called where nothing is being applied to it.
  func releaseIfDecided(_ name: String) {
    let isHeld = state.withLock { $0.undecided.contains(name) && !$0.repairs.contains(name) }
    guard isHeld else { return }
    let committed = store.log.committed
    if let database = store.database(name) {
      guard database.state.withLock({ $0.entry <= committed }) else { return }
      database.unlockExclusive()
    }
    state.withLock { _ = $0.undecided.remove(name) }
    tellProgress()
  }

  /// Databases that nobody may read yet.
  package func undecidedDatabases() -> [String] { state.withLock { $0.undecided.sorted() } }
}
