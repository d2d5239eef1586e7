import LTX
import Synchronization

// A primary that hands its lease over lets nobody begin a transaction meanwhile. Whoever would is kept waiting,
// and goes on when it is known who is the primary: here, or with an error if that is another node.

/// Writers who wait until a hand-over has ended.
final class PausedWriters: Sendable {
  private struct State {
    var isPaused = false
    var waiting: [@Sendable () -> Void] = []
  }
  private let state = Mutex(State())

  var isPaused: Bool { state.withLock { $0.isPaused } }

  var isWaitedFor: Bool { state.withLock { !$0.waiting.isEmpty } }

  func pause() { state.withLock { $0.isPaused = true } }

  /// Calls `body` once writers may go on: at once where they may.
  func wait(_ body: @escaping @Sendable () -> Void) {
    let isPaused = state.withLock { state in
      if state.isPaused { state.waiting.append(body) }
      return state.isPaused
    }
    if !isPaused { body() }
  }

  func resume() {
    let waiting = state.withLock { state in
      defer { state = State() }
      return state.waiting
    }
    for body in waiting { body() }
  }
}

extension Store {
  /// Keeps whoever is about to begin a transaction waiting until `resumeWriters`.
  package func pauseWriters() {
    paused.pause()
    state.withLock { $0.lending }?.pause()
    for database in allDatabases where !database.isLent.load(ordering: .acquiring) {
      pauseWriters(of: database)
    }
  }

  func pauseWriters(of database: Database) {
    let wait: @Sendable (StoreError) -> LockGuard = { [weak self, weak database] refusal in
      { _, answer in
        guard let self, let database else { return answer(nil) }
        self.paused.wait { self.readmit(answer, to: database, orElse: refusal) }
      }
    }
    database.sharedMemoryLocks.setGuard(range: WALLock.write, wait(Self.walRefusal))
    database.mainLocks.setGuard(range: MainLock.reserved, wait(Self.mainRefusal))
  }

  /// Lets a client begin a transaction that had to wait, on whatever this node is by now.
  func readmit(
    _ answer: @escaping @Sendable (StoreError?) -> Void,
    to database: Database,
    orElse refusal: StoreError
  ) {
    if role == .primary { return answer(nil) }
    guard configuration.forwards, let engine = state.withLock({ $0.engine }),
      engine.borrowing.want(database, answer)
    else { return answer(refusal) }
  }

  /// Whether no client is in the midst of a transaction, nor has a replica a database.
  package var isQuiet: Bool {
    guard state.withLock({ $0.lending })?.hasAll ?? true else { return false }
    return allDatabases.allSatisfy { database in
      !database.sharedMemoryLocks.isLocked(WALLock.write)
        && !database.mainLocks.isLocked(LockRange(0, .max), .write)
    }
  }

  /// Lets those go on who wait.
  package func resumeWriters() {
    if role == .primary {
      for database in allDatabases where !database.isLent.load(ordering: .acquiring) {
        admitWriters(of: database)
      }
    }
    paused.resume()
    state.withLock { $0.lending }?.resume()
  }
}
