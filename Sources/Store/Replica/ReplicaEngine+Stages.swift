import LTX
import Synchronization

// Which entries of the log are still needed to apply what has come: also the parts of large transactions, which lie
// before their commits.

extension ReplicaEngine {
  /// The last entry before all that have not been applied.
  var appliedThrough: LogIndex {
    state.withLock { state in
      var first = state.waiting.values.min() ?? .max
      for (name, stage) in state.stages {
        let isApplied = stage.commit.map { (state.waiting[name] ?? .max) > $0 } ?? false
        if !isApplied { first = min(first, stage.first) }
      }
      return first < .max ? LogIndex(first.rawValue &- 1) : .max
    }
  }

  /// A database's transactions come one after the other, so that whatever follows a part that is
  /// not its continuation says that the transaction was given up.
  func noteStage(_ entry: LogEntry) {
    switch entry.kind {
    case .stage:
      let first = entry.payload.withUnsafeBytes { raw in
        raw.count >= 8 ? raw.bigEndian(UInt64.self, at: 0) : 0
      }
      if first == 0 { state.withLock { $0.stages[entry.database] = (entry.id.index, nil) } }
    case .stagedTransaction:
      state.withLock { $0.stages[entry.database]?.commit = entry.id.index }
    case .transaction, .drop, .rename:
      state.withLock { state in
        if state.stages[entry.database]?.commit == nil { state.stages[entry.database] = nil }
      }
    case .noOperation: break
    }
  }

  /// Applies what other nodes have written into this one's log while it was the primary.
  func takeUp(_ left: DatabaseLoan.Unapplied, of name: String) {
    if let first = left.firstPart {
      state.withLock { $0.stages[name] = (first, left.entries.last) }
    }
    applier(name).enqueue(left.entries)
  }
}
