import LTX
import Synchronization

/// What a replica's clients write: a `DatabaseBorrow` for each database, and the connection to the primary that they
/// have in common.
package final class Borrowing: Sendable {
  private struct State {
    var send: (@Sendable (GrantRequest) -> Void)?
    var lastID: UInt64 = 0
    var borrows: [String: DatabaseBorrow] = [:]
    /// Who asked, by what they asked with on the present connection.
    var asked: [GrantID: DatabaseBorrow] = [:]
    var progress: SubscriptionToken?
    var hasEnded = false

    /// What to ask with; nil where there is no connection.
    mutating func next() -> (id: GrantID, send: @Sendable (GrantRequest) -> Void)? {
      guard let send else { return nil }
      lastID += 1
      return (GrantID(lastID), send)
    }
  }

  private let store: Store
  private let state = Mutex(State())
  private let gate = Mutex<ReadGate?>(nil)

  init(_ store: Store) { self.store = store }

  /// Readers who wait for what the primary has committed.
  var reads: ReadGate {
    gate.withLock { gate in
      if let gate { return gate }
      let made = ReadGate(
        ask: { [weak self] in self?.askForReadIndex() },
        hasApplied: { [weak self] database, index in
          self?.hasApplied(database, index) ?? false
        }
      )
      gate = made
      return made
    }
  }

  var isConnected: Bool { state.withLock { $0.send != nil } }

  private func askForReadIndex() -> GrantID? {
    guard let (id, send) = state.withLock({ $0.next() }) else { return nil }
    send(.readIndex(id))
    return id
  }

  private func hasApplied(_ database: Database, _ index: LogIndex) -> Bool {
    store.state.withLock { $0.engine }?.hasApplied(database.name, through: index) ?? false
  }

  private var all: [DatabaseBorrow] { state.withLock { Array($0.borrows.values) } }

  /// Lets clients who want to write the database wait for the primary's grant.
  func watch(_ database: Database) {
    let borrow = state.withLock { state -> DatabaseBorrow? in
      guard !state.hasEnded else { return nil }
      let name = database.name
      if let known = state.borrows[name], known.database === database { return known }
      let borrow = DatabaseBorrow(database, in: store, self)
      state.borrows[name] = borrow
      return borrow
    }
    borrow?.guardWriters()
  }

  /// Lets a client wait for its turn to write.
  ///
  /// - Returns: false where this node follows nobody any more.
  func want(_ database: Database, _ answer: @escaping ParkedWriters.Answer) -> Bool {
    let borrow = state.withLock { $0.borrows[database.name] }
    guard let borrow, borrow.database === database else { return false }
    borrow.want(answer)
    return true
  }

  /// A client that kept the right to write has let go of it.
  func unpinned(_ database: Database) {
    state.withLock { $0.borrows[database.name] }?.unpinned()
  }

  /// Nothing more is written under the grant of a database, if this node has it.
  func abandon(_ database: Database) {
    let borrow = state.withLock { $0.borrows[database.name] }
    guard let borrow, let id = borrow.state.withLock({ $0.phase.id }) else { return }
    borrow.abandon(id)
  }

  func dismissWriters(of name: String) {
    guard let borrow = state.withLock({ $0.borrows[name] }) else { return }
    if !borrow.database.published.isWAL { borrow.dismissParked() }
  }

  // MARK: The connection

  package func connected(
    through last: LogIndex,
    send: @escaping @Sendable (GrantRequest) -> Void
  ) {
    state.withLock { $0.send = send }
    if store.configuration.forwards || store.configuration.reads == .linearizable {
      let token = store.state.withLock({ $0.engine })?.onProgress { [weak self] in
        self?.progressed()
      }
      state.withLock { $0.progress = token }
    }
    for borrow in all { borrow.connected(through: last) }
    reads.connected()
  }

  package func disconnected() {
    let token = state.withLock { state in
      state.send = nil
      state.asked = [:]
      defer { state.progress = nil }
      return state.progress
    }
    withExtendedLifetime(token) {}
    reads.disconnected()
    for borrow in all { borrow.disconnected() }
  }

  package func received(_ answer: GrantAnswer) {
    if case .readIndex(let id, let index) = answer { return reads.received(id, index) }
    switch answer {
    case .ended(let id, _):
      state.withLock { $0.asked.removeValue(forKey: id) }?.received(answer)
    case .given(let id, _), .recalled(let id), .readIndex(let id, _):
      state.withLock { $0.asked[id] }?.received(answer)
    case .appended(let id, _), .refused(let id, _):
      // Also where the grant has ended meanwhile.
      all.first { $0.awaits(id) }?.received(answer)
    }
  }

  /// Whether the primary was asked with that over the present connection.
  func hasAsked(_ id: GrantID) -> Bool { state.withLock { $0.asked[id] != nil } }

  /// Asks the primary for the grant of a database.
  ///
  /// - Parameter prepare: called before it is asked; the answer may come at once.
  func ask(for borrow: DatabaseBorrow, _ name: String, prepare: (GrantID) -> Void) {
    let asked = state.withLock { state in
      let asked = state.next()
      if let asked { state.asked[asked.id] = borrow }
      return asked
    }
    // Else whoever waits asks when there is a connection.
    guard let (id, send) = asked else { return }
    prepare(id)
    send(.ask(id, database: name))
  }

  func giveBack(_ id: GrantID) {
    let send = state.withLock { state in
      state.asked.removeValue(forKey: id) == nil ? nil : state.send
    }
    send?(.giveBack(id))
  }

  /// - Returns: whether it was sent.
  func append(_ id: GrantID, _ kind: LogEntryKind, _ bytes: [UInt8]) -> Bool {
    guard let send = state.withLock({ $0.asked[id] == nil ? nil : $0.send }) else { return false }
    send(.append(id, kind, payload: bytes))
    return true
  }

  // MARK: This node

  /// More has been applied.
  private func progressed() {
    for borrow in all { borrow.progressed() }
    reads.progressed()
  }

  /// This node is about to be the primary itself.
  func supersede() { for borrow in all { borrow.supersede() } }

  /// This node's log is cut or begins anew, and tells nothing of what was sent.
  func forget() { for borrow in all { borrow.forget() } }

  /// This node follows nobody any more.
  ///
  /// - Returns: clients that wait to write.
  func end() -> [ParkedWriters.Answer] {
    let borrows = state.withLock { state in
      state.hasEnded = true
      state.send = nil
      state.asked = [:]
      defer { state.borrows = [:] }
      return Array(state.borrows.values)
    }
    return borrows.flatMap { $0.end() } + reads.end()
  }

  /// The databases that clients of this node write at the moment.
  var borrowed: [String] {
    all.filter { $0.database.isBorrowed.load(ordering: .acquiring) }.map(\.database.name).sorted()
  }
}
