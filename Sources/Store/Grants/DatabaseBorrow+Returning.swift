import Dispatch
import LTX
import Logging
import Synchronization

// The grant is given back where others want it, or nobody here has used it for a while.

extension DatabaseBorrow {
  func unpinned() { queue.async { self.giveBackIfWanted() } }

  func giveBackIfWanted() {
    guard !database.isPinned else { return }
    if state.withLock({ $0.isRecalled && !$0.parked.isOwed }) { giveBack() }
  }

  /// Others want what this node has not come to use, as it lacks transactions or is fetching the database.
  func giveBackUnused(_ id: GrantID) {
    let isUnused = state.withLock { state in
      guard case .behind(id, _) = state.phase else { return false }
      state.drop()
      return true
    }
    guard isUnused else { return }
    borrowing.giveBack(id)
    queue.asyncAfter(deadline: .now() + .milliseconds(Self.refusedPause)) { self.advance() }
  }

  func giveBack() {
    let isHeld = state.withLock { state in
      guard case .held(let id) = state.phase else { return false }
      state.phase = .returning(id)
      return true
    }
    if isHeld { tryToReturn(pause: 1) }
  }

  private func tryToReturn(pause: Int) {
    guard case .returning(let id) = state.withLock({ $0.phase }), let engine else { return }
    let outcome = Result { () throws(StoreError) -> TakeOver in
      guard state.withLock({ $0.entering == 0 }) else { return .later }
      return try engine.takeOverAlone(database)
    }
    switch outcome {
    case .success(.later):
      let next = min(2 * pause, Store.takeOverMilliseconds)
      queue.asyncAfter(deadline: .now() + .milliseconds(pause)) { self.tryToReturn(pause: next) }
    case .failure(let error):
      store.context.logger.error(
        "a database could not be taken over; it is tried again",
        metadata: ["database": "\(database.name)", "error": "\(error)"]
      )
      queue.asyncAfter(deadline: .now() + .milliseconds(Store.takeOverMilliseconds)) {
        self.tryToReturn(pause: Store.takeOverMilliseconds)
      }
    case .success(.done), .success(.differs), .success(.gone): returned(id, engine)
    }
  }

  private func returned(_ id: GrantID, _ engine: ReplicaEngine) {
    let isOurs = state.withLock { state in
      guard state.phase == .returning(id) else { return false }
      state.drop()
      return true
    }
    // Else the connection broke, and it is being taken over again.
    guard isOurs else { return }
    database.isBorrowed.store(false, ordering: .releasing)
    database.forwarding.withLock { $0 = nil }
    borrowing.giveBack(id)
    engine.applier(database.name).wake()
    advance()
  }
}
