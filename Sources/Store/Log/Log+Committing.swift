import Dispatch
import Glibc
import LTX
import Synchronization

// Where `replication.sync` is `quorum`, an entry of this node's own is confirmed once a majority of the voters
// has it on stable storage. Until then whoever wrote it waits, and nobody sees it: neither here, for the writer
// keeps its locks, nor on a replica, which applies what it is told to be committed.

extension Log {
  /// Lets commits wait for a majority from now on. To be called before anything is appended.
  ///
  /// - Parameter committed: the last entry known to be committed; any behind it may yet be cut.
  package func requireMajority(of voters: Set<String>, own: String, committed: LogIndex = .max) {
    commits.require(majorityOf: voters, own: own)
    commits.cut(to: committed, outOfOffice())
  }

  /// Whether commits wait for a majority.
  package var needsMajority: Bool { commits.isMajority }

  /// The last entry known to be committed.
  package var committed: LogIndex { commits.index }

  /// Transactions that wait for a majority.
  package var awaitingMajority: Int { commits.waiting }

  /// Where commits wait for nobody, what is in the primary's log is committed.
  func settleCommits() {
    if !needsMajority { commits.advance(to: last.index) }
  }

  /// Forwarded entries that are remembered: far more than clients commit at a time.
  private static let mostForwarded = 256

  /// The primary has appended an entry for this node, which has it in its log: it can be confirmed.
  func noteForwarded(_ index: LogIndex) {
    state.withLock { state in
      // Those that nobody has asked for so long nobody will.
      if state.forwarded.count >= Self.mostForwarded, let oldest = state.forwarded.min() {
        state.forwarded.remove(oldest)
      }
      state.forwarded.insert(index)
    }
  }

  /// A primary says that everything up to this entry is committed.
  func learnCommit(_ index: LogIndex) { commits.advance(to: min(index, last.index)) }

  /// Another voter has everything up to this entry on stable storage, as it said in the present term.
  package func acknowledged(by voter: String, through index: LogIndex) {
    commits.match(voter, min(index, last.index)) { durable }
  }

  /// The last entry that is known to be committed and still held, or else the last one.
  package var committedEntry: EntryID {
    let summary = summary()
    let index = committed
    guard needsMajority, summary.first <= index.next, let term = term(at: index) else {
      return summary.last
    }
    return EntryID(term: term, index: index)
  }

  /// What a batch says of commits to whoever receives it.
  func stamped(_ batch: LogBatch) -> LogBatch {
    var batch = batch
    batch.commit = needsMajority ? committed : batch.last
    return batch
  }

  /// Calls `done` once an entry of this node's own is as safe as commits are to be: with a majority of the
  /// voters, or else on stable storage here.
  package func confirm(through index: LogIndex, done: @escaping MountCompletion) {
    guard needsMajority else { return sync(through: index, done: done) }
    let (isForwarded, seconds) = state.withLock { state in
      (state.forwarded.contains(index), state.outcomeSeconds)
    }
    // The primary may be out of reach for as long as it likes.
    let done = isForwarded ? within(seconds, done) : done
    commits.wait(for: index, isForwarded: isForwarded, orElse: outOfOffice(), done: done)
    sync(through: index) { [self] error in
      // What this node's disk refuses a majority without it may have.
      if error == nil { commits.count(durable: durable) }
    }
  }

  /// Blocks until `confirm` answers. Never on a thread that must not wait.
  func confirmAndWait(through index: LogIndex) throws(StoreError) {
    try waiting { confirm(through: index, done: $0) }
  }
}

/// Says that nobody can tell where there is no other answer in time, which is then too late.
private func within(_ seconds: Double, _ done: @escaping MountCompletion) -> MountCompletion {
  let once = Once()
  DispatchQueue.global(qos: .userInitiated).asyncAfter(deadline: .now() + seconds) {
    guard once.claim() else { return }
    done(
      StoreError(
        .system(EIO),
        "nobody has told in time whether a transaction is committed; look whether it is there before "
          + "it is made again"
      )
    )
  }
  return { if once.claim() { done($0) } }
}
