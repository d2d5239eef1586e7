import Synchronization

extension Log {
  /// Blocks until everything up to `index` is on stable storage. Never on a thread that must
  /// not wait.
  package func syncAndWait(through index: LogIndex) throws(StoreError) {
    try waiting { sync(through: index, done: $0) }
  }

  /// Blocks until what was begun answers.
  func waiting(for begin: (@escaping MountCompletion) -> Void) throws(StoreError) {
    let signal = Gate()
    let outcome = Outcome()
    begin { error in
      outcome.error.withLock { $0 = error }
      signal.open()
    }
    signal.wait()
    if let error = outcome.error.withLock({ $0 }) { throw error }
  }

  private final class Outcome: Sendable {
    let error = Mutex<StoreError?>(nil)
  }
}
