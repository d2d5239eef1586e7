import LTX
import Synchronization

/// What a primary has lent to replicas: a `DatabaseLoan` for each database that one has asked for.
package final class Lending: Sendable {
  private struct State {
    var loans: [String: DatabaseLoan] = [:]
    var isPaused = false
    var hasEnded = false
  }

  private let store: Store
  private let state = Mutex(State())
  private let commits = Mutex<SubscriptionToken?>(nil)

  init(store: Store) {
    self.store = store
    let token = store.log.commits.onAdvance { [weak self] in
      for loan in self?.all ?? [] { loan.wake() }
    }
    commits.withLock { $0 = token }
  }

  private var all: [DatabaseLoan] { state.withLock { Array($0.loans.values) } }

  /// The loan of a database; nil where this node is not the primary any more, or it is no name of one.
  func loan(_ name: String) -> DatabaseLoan? {
    guard FileName(name).isDatabase else { return nil }
    let database = store.makeDatabase(name)
    return state.withLock { state in
      guard !state.hasEnded else { return nil }
      if let known = state.loans[name], known.database === database { return known }
      // Of a database that is gone, or of this one while it was called otherwise.
      let former = state.loans.filter { $0.key == name || $0.value.database === database }
      for (name, loan) in former {
        loan.retire()
        state.loans[name] = nil
      }
      let loan = DatabaseLoan(database, named: name, in: store, after: Array(former.values))
      if state.isPaused { loan.pause() }
      state.loans[name] = loan
      return loan
    }
  }

  /// A loan is over whose database is gone, or is called otherwise.
  func forget(_ loan: DatabaseLoan) {
    state.withLock { if $0.loans[loan.name] === loan { $0.loans[loan.name] = nil } }
  }

  /// The same where a replica has asked for it.
  func known(_ database: Database) -> DatabaseLoan? {
    let loan = state.withLock { $0.loans[database.name] }
    return loan?.database === database ? loan : nil
  }

  /// Whether no replica has anything, nor is about to be given anything.
  var hasAll: Bool { all.allSatisfy(\.isOwn) }

  /// The last entry before all that replicas have written and that has not been applied.
  var appliedThrough: LogIndex {
    let first = all.compactMap(\.firstUnapplied).min()
    return first.map { LogIndex($0.rawValue &- 1) } ?? .max
  }

  /// Has everything back, and lends nothing until `resume`: this node is about to hand over.
  func pause() {
    state.withLock { $0.isPaused = true }
    for loan in all { loan.pause() }
  }

  func resume() {
    state.withLock { $0.isPaused = false }
    for loan in all { loan.resume() }
  }

  /// This node is not the primary any more. Cheap.
  func end() {
    state.withLock { $0.hasEnded = true }
    for loan in all { loan.end() }
  }

  /// What replicas have written and has not been applied, by database. After `end`; blocks until nothing is under
  /// way.
  func takeUnapplied() -> [String: DatabaseLoan.Unapplied] {
    var unapplied: [String: DatabaseLoan.Unapplied] = [:]
    for loan in all {
      let left = loan.takeUnapplied()
      if !left.entries.isEmpty { unapplied[loan.database.name] = left }
    }
    return unapplied
  }

  /// The databases that a replica has or waits for: who has it, nil for this node, and who waits.
  package var standing: [(database: String, holder: String?, waiting: [String])] {
    all.compactMap { loan in
      let (holder, waiting) = loan.standing
      return holder == nil && waiting.isEmpty ? nil : (loan.database.name, holder, waiting)
    }.sorted { $0.database < $1.database }
  }
}

/// The primary's end of one connection of a replica.
final class Lender: GrantLender {
  let node: String
  private let reply: @Sendable (GrantAnswer) -> Void
  private let store: Store
  private struct State {
    var grants: [GrantID: DatabaseLoan] = [:]
    /// Grants under which something is being appended.
    var appending: Set<GrantID> = []
    var hasEnded = false
  }
  /// The most grants that one replica may have or wait for: of as many databases.
  static let most = 1024
  private let state = Mutex(State())
  /// Whether anything may be appended for the connection; held while that is done.
  private let isOpen = Mutex(true)

  init(node: String, store: Store, answer: @escaping @Sendable (GrantAnswer) -> Void) {
    self.node = node
    self.store = store
    reply = answer
  }

  func answer(_ answer: GrantAnswer) {
    switch answer {
    case .appended(let id, _), .refused(let id, _):
      state.withLock { _ = $0.appending.remove(id) }
    case .ended(let id, _):
      state.withLock { _ = $0.grants.removeValue(forKey: id) }
    case .given, .recalled, .readIndex: break
    }
    reply(answer)
  }

  /// Whether the replica may append under the grant: not once it has been told that it is over, or has given it back.
  func isGranted(_ id: GrantID) -> Bool { state.withLock { $0.grants[id] != nil } }

  func receive(_ request: GrantRequest) {
    switch request {
    case .ask(let id, let name): ask(id, name)
    case .giveBack(let id):
      state.withLock { $0.grants.removeValue(forKey: id) }?.gaveBack(self, id)
    case .append(let id, let kind, let payload):
      let loan = state.withLock { state -> DatabaseLoan? in
        // One after the other, so that little waits here.
        guard let loan = state.grants[id], state.appending.insert(id).inserted else { return nil }
        return loan
      }
      guard let loan else {
        return reply(.refused(id, reason: "the grant is over, or is being used"))
      }
      loan.append(self, id, kind, payload)
    case .readIndex(let id): answer(.readIndex(id, store.readIndex ?? .zero))
    }
  }

  private func ask(_ id: GrantID, _ name: String) {
    // Before anything is made for it.
    guard state.withLock({ $0.grants.count < Self.most && $0.grants[id] == nil }) else {
      return answer(.ended(id, reason: "there are too many grants on this connection"))
    }
    guard let lending = store.state.withLock({ $0.lending }), let loan = lending.loan(name) else {
      let reason =
        store.configuration.forwards
        ? "this node is not the primary, or \(name) cannot be a database"
        : "write-forwarding is off on the primary"
      return answer(.ended(id, reason: reason))
    }
    let isOpen = state.withLock { state in
      if !state.hasEnded { state.grants[id] = loan }
      return !state.hasEnded
    }
    if isOpen { loan.ask(self, id) }
  }

  /// Appends for the connection, which does not end meanwhile.
  ///
  /// - Throws: where it has ended: the replica may have been told that nothing comes any more.
  func whileOpen<T>(_ body: () throws(StoreError) -> T) throws(StoreError) -> T {
    try isOpen.withLock { isOpen throws(StoreError) in
      guard isOpen else { throw StoreError(.readOnly, "the connection of the grant is over") }
      return try body()
    }
  }

  func end() { store.workers.async { self.close() } }

  /// Blocks while something is being appended.
  func close() {
    isOpen.withLock { $0 = false }
    store.lenders.withLock { if $0[node] === self { $0[node] = nil } }
    let grants = state.withLock { state in
      state.hasEnded = true
      defer { state.grants = [:] }
      return state.grants
    }
    for (id, loan) in grants { loan.gaveBack(self, id) }
  }
}

extension Lender: Hashable {
  static func == (one: Lender, other: Lender) -> Bool { one === other }
  func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

extension Store {
  package func lender(
    to node: String,
    answer: @escaping @Sendable (GrantAnswer) -> Void
  ) -> any GrantLender {
    let lender = Lender(node: node, store: self, answer: answer)
    lenders.withLock { $0[node] = lender }
    return lender
  }

  package func endLending(to node: String) {
    lenders.withLock { $0.removeValue(forKey: node) }?.close()
  }

  /// Up to where a node must have applied the log to show all that was committed before this call; nil where this
  /// node is not known to be the primary.
  var readIndex: LogIndex? {
    guard role == .primary, log.holdsLease else { return nil }
    return log.needsMajority ? log.committed : log.last.index
  }

  /// What replicas write or want to write.
  package var lent: [(database: String, holder: String?, waiting: [String])] {
    state.withLock { $0.lending }?.standing ?? []
  }

  /// Whether the node itself may write the database soon, for a replica, or has done so.
  func wasLent(_ database: Database) -> Bool {
    let at = database.lentAt.load(ordering: .acquiring)
    return at > 0 && context.clock.milliseconds &- at < DatabaseLoan.recently
  }

  /// Whether clients may end transactions over several databases.
  var mayEndSuperJournals: Bool {
    role == .primary || allDatabases.contains { $0.isBorrowed.load(ordering: .acquiring) }
  }
}
