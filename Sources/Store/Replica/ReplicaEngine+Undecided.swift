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

  /// Lets readers in where everything has been decided.
  func releaseDecided() {
    let names = state.withLock { $0.undecided.subtracting($0.repairs) }
    guard !names.isEmpty else { return }
    let committed = store.log.committed
    for name in names {
      guard let database = store.database(name) else {
        state.withLock { _ = $0.undecided.remove(name) }
        continue
      }
      guard database.state.withLock({ $0.entry <= committed }),
        state.withLock({ $0.undecided.remove(name) != nil })
      else { continue }
      database.unlockExclusive()
    }
  }

  /// Databases that nobody may read yet.
  package func undecidedDatabases() -> [String] { state.withLock { $0.undecided.sorted() } }
}
