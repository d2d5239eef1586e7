import Dispatch
import Glibc
import LTX
import Synchronization

/// The primary's log, as whoever records a transaction of a database that this node was given to write sees it.
///
/// What is sent is awaited, on a thread that may wait and with the database's lock. Where the connection breaks before
/// the answer, the log tells: the grant was over with the connection, so that nothing came to the log behind
/// what the primary had when it was reached again. Whatever is in the log up to there has happened.
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
  }

  let id: GrantID
  private(set) var outcome = Outcome.open
  let changed = DispatchSemaphore(value: 0)

  init(_ id: GrantID) { self.id = id }

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
    case .refused, .lost, .settled: break
    }
  }

  /// The log of whoever is the primary now ends here.
  mutating func reconnected(through last: LogIndex) {
    switch outcome {
    case .open, .appended, .lost: set(.settled(last))
    case .refused, .settled: break
    }
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
    let sent = SentTransaction(id)
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
    let arrivals = store.log.onAppend { sent.changed.signal() }
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
        throw StoreError(
          .system(EIO),
          "nobody has told in time whether a transaction of database \(database.name) is committed; "
            + "look whether it is there before it is made again"
        )
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
    case .settled(let end):
      guard last >= end else { return nil }
      if kind != .stage, let found = try find(kind, bytes, after: before, through: last) {
        return found
      }
      throw StoreError(
        .system(EIO),
        "the connection to the primary broke before it had a transaction of database "
          + "\(database.name); make it again"
      )
    }
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
