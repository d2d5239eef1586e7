import Dispatch
import Glibc
import LTX
import Synchronization

/// The primary's log, as whoever records a transaction of a database that this node was given to write sees it.
///
/// What is sent is awaited, on a thread that may wait and with the database's lock. Where the connection breaks before
/// the answer, the log tells: the grant was over with the connection, so that nothing came to the log behind
/// what the primary had when it was reached again. Whatever is in the log up to there has happened. Where there is
/// another primary, what it lacks may yet come back with the one before, until something of a later term is committed.
struct ForwardedLog: TransactionSink {
  let borrow: DatabaseBorrow
  let id: GrantID

  func append(
    _ kind: LogEntryKind,
    database: String,
    bytes: [UInt8]
  ) throws(StoreError) -> LogIndex {
    try borrow.append(id, kind, bytes)
  }
}

/// A transaction, or a part of one, that was sent to the primary: a value without I/O.
struct SentTransaction: Sendable {
  enum Outcome: Sendable, Equatable {
    /// Nothing has been heard.
    case open
    /// In the primary's log.
    case appended(LogIndex)
    case refused(String)
    /// The connection broke before it was in this node's log.
    case lost
    /// It is in the log up to here, or nowhere.
    case settled(LogIndex)
    /// There is another primary: it is in the log by the time that something of a later term is committed, or nowhere.
    case superseded
    /// Nobody can tell any more.
    case unknown
  }

  let id: GrantID
  /// That of the primary to which it was sent; nil where only one node can be it.
  let term: Term?
  private(set) var outcome = Outcome.open
  let changed = DispatchSemaphore(value: 0)

  init(_ id: GrantID, term: Term?) {
    self.id = id
    self.term = term
  }

  mutating func appended(_ id: GrantID, _ index: LogIndex) {
    guard id == self.id, outcome == .open || outcome == .lost else { return }
    set(.appended(index))
  }

  mutating func refused(_ id: GrantID, _ reason: String) {
    guard id == self.id, outcome == .open || outcome == .lost else { return }
    set(.refused(reason))
  }

  mutating func lost() {
    switch outcome {
    case .open, .appended: set(.lost)
    case .refused, .lost, .settled, .superseded, .unknown: break
    }
  }

  /// The log of whoever is the primary now, in this term, ends here.
  mutating func reconnected(through last: LogIndex, term: Term?) {
    guard term == self.term else { return superseded() }
    switch outcome {
    case .open, .appended, .lost: set(.settled(last))
    case .refused, .settled, .superseded, .unknown: break
    }
  }

  /// There is another primary, which this node may be itself.
  mutating func superseded() {
    switch outcome {
    case .open, .appended, .lost, .settled: set(.superseded)
    case .refused, .superseded, .unknown: break
    }
  }

  /// All that was committed by now is in this node's log.
  mutating func completed() {
    switch outcome {
    case .open, .appended, .lost, .settled, .superseded: set(.settled(.zero))
    case .refused, .unknown: break
    }
  }

  /// This node's log is cut or begins anew: what it may have held is not to be found any more.
  mutating func forgotten() {
    if case .refused = outcome { return }
    set(.unknown)
  }

  /// Whether what is not in the log will not come, as something of a later term is committed.
  func isOver(_ committed: Term?) -> Bool {
    guard let term, let committed else { return false }
    return committed > term
  }

  private mutating func set(_ new: Outcome) {
    outcome = new
    changed.signal()
  }
}

extension DatabaseBorrow {
  /// Sends a transaction, or a part of one, and waits until this node's log has it.
  ///
  /// - Throws: when it is not in the log, or nobody has told in time.
  func append(_ id: GrantID, _ kind: LogEntryKind, _ bytes: [UInt8]) throws(StoreError) -> LogIndex
  {
    let before = store.log.last.index
    let sent = SentTransaction(id, term: store.followedTerm)
    let isHeld = state.withLock { state in
      guard state.phase == .held(id) || state.phase == .returning(id) else { return false }
      state.sent = sent
      return true
    }
    defer { state.withLock { $0.sent = nil } }
    guard isHeld, borrowing.append(id, kind, bytes) else {
      throw StoreError(
        .system(EIO),
        "database \(database.name) was not this node's to write any more; make the transaction again"
      )
    }
    let arrivals = store.onAppend { sent.changed.signal() }
    defer { withExtendedLifetime(arrivals) {} }
    let deadline = DispatchTime.now() + store.configuration.outcomeSeconds
    while true {
      if let index = try look(sent, kind, bytes, after: before) {
        store.log.noteForwarded(index)
        return index
      }
      guard sent.changed.wait(timeout: deadline) == .success else {
        // Whatever is answered later is no answer to what is sent next.
        abandon(id)
        throw unknownOutcome
      }
    }
  }

  /// Whether the outcome is known by now.
  ///
  /// - Returns: the entry; nil to look again later.
  private func look(
    _ sent: SentTransaction,
    _ kind: LogEntryKind,
    _ bytes: [UInt8],
    after before: LogIndex
  ) throws(StoreError) -> LogIndex? {
    let last = store.log.last.index
    switch state.withLock({ $0.sent?.outcome ?? .open }) {
    case .open, .lost: return nil
    case .appended(let index): return index <= last ? index : nil
    case .refused(let reason):
      throw StoreError(
        .system(EIO),
        "the primary did not take a transaction of database \(database.name): \(reason)"
      )
    case .unknown: throw unknownOutcome
    case .settled(let end):
      guard last >= end else { return nil }
      return try found(kind, bytes, after: before, through: last)
    case .superseded:
      guard sent.isOver(store.log.term(at: min(store.log.committed, last))) else { return nil }
      return try found(kind, bytes, after: before, through: last)
    }
  }

  /// The entry, which is in the log now or will not be.
  private func found(
    _ kind: LogEntryKind,
    _ bytes: [UInt8],
    after before: LogIndex,
    through last: LogIndex
  ) throws(StoreError) -> LogIndex {
    if kind != .stage, let found = try find(kind, bytes, after: before, through: last) {
      return found
    }
    throw StoreError(
      .system(EIO),
      "the connection to the primary broke before it had a transaction of database "
        + "\(database.name); make it again"
    )
  }

  private var unknownOutcome: StoreError {
    StoreError(
      .system(EIO),
      "nobody can tell whether a transaction of database \(database.name) is committed; "
        + "look whether it is there before it is made again"
    )
  }

  private func find(
    _ kind: LogEntryKind,
    _ bytes: [UInt8],
    after before: LogIndex,
    through last: LogIndex
  ) throws(StoreError) -> LogIndex? {
    var index = before.next
    while index <= last {
      let entry = try store.log.entry(at: index)
      if entry.kind == kind, entry.database == database.name, entry.payload.elementsEqual(bytes) {
        return index
      }
      index = index.next
    }
    return nil
  }
}
