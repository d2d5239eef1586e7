import Glibc
import LTX
import Synchronization

// What a read is worth. A client that begins to read asks for a shared lock: of a read mark of the write-ahead log, or
// of the PENDING byte before the SHARED range of the main file. There it waits.

/// What readers of a node see.
package enum ReadMode: Hashable, Sendable {
  /// The node's own copy. On a replica nobody reads once the primary has not been heard for so many milliseconds;
  /// nil for no limit.
  case local(maxStaleness: UInt64?)
  /// All that was committed anywhere when the read began.
  case linearizable
}

extension WALLock {
  /// The locks that readers take.
  static let readers = LockRange(read(0).start, read(4).end)
}

extension Store {
  static let readRefusal = StoreError(
    .system(EAGAIN),
    "it is not known whether this node has all that was committed"
  )

  /// Lets readers of a database wait as the configuration wants it.
  func watchReaders(of database: Database) {
    switch configuration.reads {
    case .local(maxStaleness: nil): return
    case .local, .linearizable: break
    }
    let admit: LockGuard = { [weak self, weak database] request, answer in
      guard let self, let database else { return answer(nil) }
      // Whoever writes a log anew takes a read mark once more in the midst of its transaction.
      let isWriter = database.sharedMemoryLocks.holds(
        owner: request.owner,
        range: WALLock.write,
        kind: .write
      )
      if isWriter { return answer(nil) }
      admitReader(of: database, answer)
    }
    database.sharedMemoryLocks.setReadGuard(range: WALLock.readers, admit)
    database.mainLocks.setReadGuard(range: MainLock.pending, admit)
  }

  private func admitReader(of database: Database, _ answer: @escaping ReadGate.Answer) {
    if case .local(let staleness?) = configuration.reads {
      guard role != .primary else { return answer(nil) }
      let silence = context.clock.milliseconds &- standing.heard
      let isFresh = standing.primary != nil && silence <= staleness
      return answer(isFresh ? nil : Self.readRefusal)
    }
    if role == .primary { return admitReaderHere(of: database, answer) }
    guard let engine = state.withLock({ $0.engine }) else { return answer(Self.readRefusal) }
    engine.borrowing.reads.enter(database, answer)
  }

  /// The primary's own copy is current as long as its lease holds, but for what replicas have written and is still to
  /// be applied.
  private func admitReaderHere(of database: Database, _ answer: @escaping ReadGate.Answer) {
    guard let index = readIndex else { return answer(Self.readRefusal) }
    guard database.isLent.load(ordering: .acquiring),
      let loan = state.withLock({ $0.lending })?.loan(database.name)
    else { return database.whenPublished(answer) }
    loan.whenApplied(through: index, answer)
  }
}
