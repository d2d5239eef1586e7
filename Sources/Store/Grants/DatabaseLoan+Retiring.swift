import Dispatch
import Logging
import Synchronization

// Until it is lent, clients of the primary may remove the database, give it another name, or put another file in its place. What has
// the name then is none of the loan's business: its locks are in other tables, and its journal is somebody's only way back.

extension DatabaseLoan {
  static let isOver =
    "the database was removed or renamed, or this node is not the primary any more"

  /// Whether the database still is the one that has the name it was asked for by.
  var isOfDatabase: Bool {
    database.state.withLock { !$0.dropped } && database.name == name
  }

  /// Records what a client that died left in free pages. SQLite's journal does not hold these, so that they stay as they are
  /// when it is played back; what differs elsewhere is damage.
  ///
  /// - Returns: false where no journal was played back, or that is not what makes the files differ.
  func recordInterrupted() -> Bool {
    let isInterrupted = database.state.withLock { state in
      state.isDoubted && state.failed == nil && state.damaged.isEmpty && state.absence == nil
    }
    guard isInterrupted, !database.published.isWAL else { return false }
    do throws(StoreError) {
      try store.captureStrayed(database)
      return true
    } catch {
      store.context.logger.error(
        "what a client that died has left cannot be recorded",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
      return false
    }
  }

  /// From now on it is lent, and neither dropped nor renamed (`Store.drop`, `Store.renameNow`).
  ///
  /// - Returns: false where a rename is under way or has come first; nil where the loan has ended meanwhile.
  func noteLent() -> Bool? {
    database.state.withLock { held in
      let isThere = !held.dropped && held.moves == 0 && database.name == name
      return state.withLock { state -> Bool? in
        guard !state.hasEnded else {
          state.isTaking = false
          return nil
        }
        guard isThere else { return false }
        state.isTaking = false
        database.isLent.store(true, ordering: .releasing)
        return true
      }
    }
  }

  /// The database is gone, or is called otherwise. It is not lent at this moment.
  func retire() {
    let ended = state.withLock { state -> ([ParkedWriters.Answer], [Party], Bool)? in
      guard !state.hasEnded else { return nil }
      state.hasEnded = true
      state.isRetired = true
      defer { state.isTaking = false }
      return (state.parked.take(), state.grants.waiting, state.isTaking)
    }
    guard let (parked, waiting, wasTaking) = ended else { return }
    queue.async { [self] in
      // Of an attempt that came to its end while the database got its name.
      if wasTaking, store.role == .primary {
        database.reading.withLock { _ in database.releaseDaemonLocks() }
      }
      for case .replica(let lender, let id) in waiting {
        lender.answer(.ended(id, reason: Self.isOver))
      }
      for answer in parked { readmit(answer) }
      store.state.withLock { $0.lending }?.forget(self)
    }
  }
}
