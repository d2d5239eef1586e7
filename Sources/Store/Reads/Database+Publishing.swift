import Synchronization

// Between the write that commits a transaction to the write-ahead log and the lock that its writer gives up, other nodes may
// have the transaction while this node's wal-index does not show it yet. With a rollback journal nobody can begin to
// read meanwhile.

extension Database {
  /// Answers a reader once the wal-index shows all that has been committed by clients of this node.
  func whenPublished(_ answer: @escaping ReadGate.Answer) {
    if isPublished { return answer(nil) }
    unpublished.withLock { $0.append(answer) }
    // The writer may have gone in between.
    if !sharedMemoryLocks.isLocked(WALLock.write) { tellPublished() }
  }

  /// The writer of the moment has given up its lock.
  func tellPublished() {
    let waiting = unpublished.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
    for answer in waiting { answer(nil) }
  }

  /// Whether the wal-index is known to show all captured frames.
  private var isPublished: Bool {
    guard sharedMemoryLocks.isLocked(WALLock.write) else { return true }
    return state.withLockIfAvailable { state in
      state.wal.header == nil || agreesWithIndex(state)
    } ?? false
  }
}
