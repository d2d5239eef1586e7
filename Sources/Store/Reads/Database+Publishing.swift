import Dispatch
import Synchronization

// Between the write that commits a transaction to the write-ahead log and the lock that its writer gives up, other nodes may
// have the transaction while this node's wal-index does not show it yet. With a rollback journal nobody can begin to
// read meanwhile.

extension Database {
  /// Answers a reader once the wal-index shows all that has been committed by clients of this node.
  func whenPublished(_ answer: @escaping ReadGate.Answer) {
    ReadGate.whenTrue({ [weak self] in self?.isPublished ?? true }, answer)
  }

  /// Whether the wal-index is known to show all captured frames.
  private var isPublished: Bool {
    // What the daemon itself writes it shows before it says that it is applied.
    guard sharedMemoryLocks.hasOther(than: .daemon, in: WALLock.write) else { return true }
    return state.withLockIfAvailable { state in
      // Nothing of this log is committed: what was before is in the main file.
      state.wal.header == nil || state.wal.frames == 0 || agreesWithIndex(state)
    } ?? false
  }
}

extension ReadGate {
  /// Before it is looked again, in milliseconds.
  private static let pause = 1

  /// Answers a reader once a condition holds, which is looked at every millisecond, or that it is not known in time.
  static func whenTrue(
    _ condition: @escaping @Sendable () -> Bool,
    until deadline: ContinuousClock.Instant? = nil,
    _ answer: @escaping Answer
  ) {
    if condition() { return answer(nil) }
    let deadline = deadline ?? .now + patience
    guard ContinuousClock.now < deadline else { return answer(Store.readRefusal) }
    DispatchQueue.global(qos: .userInitiated).asyncAfter(deadline: .now() + .milliseconds(pause)) {
      whenTrue(condition, until: deadline, answer)
    }
  }
}
