import Dispatch
import LTX
import Logging
import Synchronization

/// One database of a replica whose clients may write.
///
/// A client that is about to write waits in the guard of the lock with which a transaction begins. Meanwhile the
/// node asks the primary for the grant, applies what it lacks, and lets go of its own locks, as when it becomes the
/// primary; then the client gets its lock. What it commits goes to the primary (`append`). The node takes the database
/// over again before it gives the grant back, as when it ceases to be the primary.
///
/// Whether the client's copy is current SQLite finds out by itself with a write-ahead log. With a rollback journal a
/// client that reads keeps the node from applying anything: where something is missing it is told that the database
/// is busy, and the grant waits for its next attempt.
final class DatabaseBorrow: Sendable {
  enum Phase: Equatable {
    case none
    case asked(GrantID)
    /// Given, but something is to be applied before: up to this entry.
    case behind(GrantID, through: LogIndex)
    case held(GrantID)
    /// To be given back once no client is in a transaction.
    case returning(GrantID)

    var id: GrantID? {
      switch self {
      case .none: nil
      case .asked(let id), .behind(let id, _), .held(let id), .returning(let id): id
      }
    }
  }

  struct State {
    var phase = Phase.none
    /// What the database was called when it was asked for.
    var name = ""
    /// Whether others want to write.
    var isRecalled = false
    var parked = ParkedWriters()
    /// How many are getting a lock at this moment, for which they need not wait.
    var entering = 0
    /// Counts transactions that were begun.
    var uses = 0
    /// What was sent and is not known to be in the log.
    var sent: SentTransaction?
    /// Why the grant was refused or ended; nil where it was not since it was held last.
    var refusal: String?
    var hasEnded = false

    /// There is no grant any more.
    mutating func drop() {
      phase = .none
      isRecalled = false
    }
  }

  /// How long a grant that nobody else wants is kept after its last transaction, in milliseconds.
  static let idleTime = 500
  /// How long a grant that others want may wait until this node has applied what it lacks, in milliseconds.
  private static let behindLimit = 1_000
  /// Before it is tried again to get what was refused, in milliseconds.
  static let refusedPause = 100

  let store: Store
  let database: Database
  let state = Mutex(State())
  /// Which forgets this object when it ends.
  let borrowing: Borrowing
  let queue = DispatchQueue(label: "halite.borrow", qos: .userInitiated)

  init(_ database: Database, in store: Store, _ borrowing: Borrowing) {
    self.database = database
    self.store = store
    self.borrowing = borrowing
  }

  var engine: ReplicaEngine? { store.state.withLock { $0.engine } }

  /// Whether the database is the one that has its name, and neither dropped nor replaced.
  private var isCurrent: Bool { store.database(database.name) === database }

  // MARK: Clients

  func guardWriters() {
    database.guardWriters { [weak self] answer in
      if let self { want(answer) } else { answer(Store.walRefusal) }
    } other: { [weak self] refusal, answer in
      // Otherwise it is the daemon that does this.
      if let self { enter(answer, orElse: refusal) } else { answer(refusal) }
    }
  }

  /// Answers at once whether this node has the grant.
  private func enter(
    _ answer: @escaping ParkedWriters.Answer,
    orElse refusal: StoreError
  ) {
    let isHeld = state.withLock { state in
      guard case .held = state.phase else { return false }
      state.entering += 1
      return true
    }
    guard isHeld else { return answer(refusal) }
    answer(nil)
    state.withLock { $0.entering -= 1 }
  }

  /// A client is about to begin a transaction.
  func want(_ answer: @escaping ParkedWriters.Answer) {
    enum Next { case go, refuse, ask, wait(UInt64) }
    let published = database.published
    let isBehind = !published.isWAL && engine?.isBehind(published.name) ?? false
    let isPinned = database.isPinned
    let next = state.withLock { state -> Next in
      if state.hasEnded { return .refuse }
      if case .held = state.phase, state.parked.claim() || !state.isRecalled || isPinned {
        state.uses += 1
        state.entering += 1
        return .go
      }
      // It keeps the node from applying what is missing, or has waited enough.
      if isBehind || state.parked.isHopeless {
        switch state.phase {
        // While another node writes steadily this one would never catch up by itself.
        case .none:
          state.parked.owe()
          return .ask
        case .asked, .behind: state.parked.owe()
        case .held, .returning: break
        }
        return .refuse
      }
      return .wait(state.parked.park(answer, at: published.position))
    }
    switch next {
    case .go:
      answer(nil)
      let isRecalled = state.withLock { state in
        state.entering -= 1
        return state.isRecalled
      }
      if isRecalled { queue.async { self.giveBackIfWanted() } }
    case .refuse: answer(Store.walRefusal)
    case .ask:
      answer(Store.walRefusal)
      queue.async { self.advance(isOwed: true) }
    case .wait(let ticket):
      queue.async { self.advance() }
      let patience =
        borrowing.isConnected ? ParkedWriters.patience : ParkedWriters.patienceAlone
      queue.asyncAfter(deadline: .now() + .milliseconds(patience)) {
        self.state.withLock { $0.parked.expire(ticket) }?(Store.walRefusal)
      }
    }
  }

  /// It is the turn of this node's clients.
  private func admitParked() {
    let position = database.published.position
    let parked = state.withLock { state in
      state.uses += 1
      return state.parked.admit(at: position)
    }
    for answer in parked { answer(nil) }
  }

  /// They are to try again.
  func dismissParked() {
    for answer in state.withLock({ $0.parked.dismiss() }) { answer(Store.walRefusal) }
  }

  // MARK: Inputs

  func progressed() {
    let isBehind = state.withLock { if case .behind = $0.phase { true } else { false } }
    if isBehind { queue.async { self.advance() } }
  }

  func received(_ answer: GrantAnswer) {
    switch answer {
    case .given(let id, let last):
      state.withLock { state in
        if state.phase == .asked(id) { state.phase = .behind(id, through: last) }
      }
      queue.async { self.arrived() }
    case .recalled(let id): recalled(id)
    case .ended(let id, let reason): ended(id, reason)
    case .appended(let id, let index): state.withLock { $0.sent?.appended(id, index) }
    case .refused(let id, let reason): state.withLock { $0.sent?.refused(id, reason) }
    case .readIndex: break
    }
  }

  /// Whether what was sent under that grant has not been answered.
  func awaits(_ id: GrantID) -> Bool { state.withLock { $0.sent?.id == id } }

  func connected(through last: LogIndex) {
    let term = store.followedTerm
    let asked = state.withLock { state -> GrantID? in
      state.sent?.reconnected(through: last, term: term)
      if case .asked(let id) = state.phase { return id }
      return nil
    }
    // Asked when the connection broke, and forgotten before that was noted here.
    if let asked, !borrowing.hasAsked(asked) {
      state.withLock { if $0.phase == .asked(asked) { $0.phase = .none } }
    }
    queue.async { self.advance() }
  }

  func disconnected() {
    lose()
    queue.asyncAfter(deadline: .now() + .milliseconds(ParkedWriters.patienceAlone)) {
      guard !self.borrowing.isConnected else { return }
      for answer in self.state.withLock({ $0.parked.expire() }) { answer(Store.walRefusal) }
    }
  }

  func supersede() { state.withLock { $0.sent?.superseded() } }

  func forget() { state.withLock { $0.sent?.forgotten() } }

  /// - Returns: clients that wait to write.
  func end() -> [ParkedWriters.Answer] {
    let parked = state.withLock { state in
      state.hasEnded = true
      state.drop()
      state.sent?.completed()
      return state.parked.take()
    }
    if database.isBorrowed.exchange(false, ordering: .acquiringAndReleasing) {
      database.forwarding.withLock { $0 = nil }
    }
    return parked
  }

  private func recalled(_ id: GrantID) {
    let phase = state.withLock { state -> Phase in
      guard state.phase.id == id, !state.isRecalled else { return .none }
      state.isRecalled = true
      return state.phase
    }
    switch phase {
    case .none: break
    case .behind:
      queue.asyncAfter(deadline: .now() + .milliseconds(Self.behindLimit)) {
        self.giveBackUnused(id)
      }
    case .asked, .held, .returning: queue.async { self.giveBackIfWanted() }
    }
  }

  private func ended(_ id: GrantID, _ reason: String) {
    let (isOurs, isNews) = state.withLock { state in
      defer { state.refusal = reason }
      return (state.phase.id == id, state.refusal != reason)
    }
    guard isOurs else { return }
    // Asked for again and again, and refused each time, it is said once.
    store.context.logger.log(
      level: isNews ? .warning : .debug,
      "the primary does not let this node write a database",
      metadata: ["database": "\(database.name)", "reason": "\(reason)"]
    )
    lose()
    // Those who wait ask again.
    queue.asyncAfter(deadline: .now() + .milliseconds(Self.refusedPause)) { self.advance() }
  }

  /// There is no grant any more: a transaction under way meets an error where it would be committed.
  private func lose() {
    let phase = state.withLock { state in
      defer { state.drop() }
      state.sent?.lost()
      return state.phase
    }
    switch phase {
    case .none, .asked, .behind: break
    case .held, .returning: leave()
    }
  }

  /// Nothing more is written under the grant, and what waits at the primary is not appended any more.
  func abandon(_ id: GrantID) {
    let isOurs = state.withLock { state in
      guard state.phase == .held(id) || state.phase == .returning(id) else { return false }
      state.drop()
      return true
    }
    guard isOurs else { return }
    borrowing.giveBack(id)
    leave()
  }

  /// The daemon is to have the database again, as soon as no client is in a transaction.
  private func leave() {
    if let engine, !state.withLock({ $0.hasEnded }) {
      engine.noteEntering(database.name)
      database.isLeaving.store(true, ordering: .releasing)
      // Behind an attempt that is under way: the daemon's locks do not keep two of its own apart.
      queue.async { self.leaveWhenEntered(engine) }
    }
    database.isBorrowed.store(false, ordering: .releasing)
    database.forwarding.withLock { $0 = nil }
  }

  /// Whoever is getting a lock at this moment has it before the daemon looks.
  private func leaveWhenEntered(_ engine: ReplicaEngine) {
    guard state.withLock({ $0.entering > 0 }) else { return engine.takeOverLost(database.name) }
    queue.asyncAfter(deadline: .now() + .milliseconds(1)) { self.leaveWhenEntered(engine) }
  }

  // MARK: On the queue

  /// Asks for the grant, or takes it up, where somebody waits.
  ///
  /// - Parameter isOwed: whether somebody who does not wait is to try again.
  func advance(isOwed: Bool = false) {
    let (phase, isWanted) = state.withLock { state in
      (state.phase, (isOwed || !state.parked.isEmpty) && !state.hasEnded)
    }
    switch phase {
    case .none:
      guard isCurrent else { return dismissParked() }
      let name = database.name
      guard isWanted, let engine, !engine.holdsBack(name) else { return retry(isWanted) }
      borrowing.ask(for: self, name) { id in
        state.withLock { state in
          guard state.phase == .none else { return }
          state.phase = .asked(id)
          state.name = name
        }
      }
    case .behind(let id, let last):
      if hasApplied(last) { enter(id) }
    case .asked, .held, .returning: break
    }
  }

  /// The database is being taken over, or fetched.
  private func retry(_ isWanted: Bool) {
    guard isWanted else { return }
    queue.asyncAfter(deadline: .now() + .milliseconds(Store.takeOverMilliseconds)) {
      self.advance()
    }
  }

  /// The grant has come.
  private func arrived() {
    guard case .behind(_, let last) = state.withLock({ $0.phase }) else { return }
    if !hasApplied(last), !database.published.isWAL { dismissParked() }
    advance()
  }

  private func hasApplied(_ last: LogIndex) -> Bool {
    engine?.hasApplied(database.name, through: last) ?? false
  }

  private func enter(_ id: GrantID) {
    guard let engine, !state.withLock({ $0.hasEnded }) else { return }
    var isMeant = false
    try? engine.applier(database.name).alone {
      // Meanwhile what it was given may have come to be another database.
      isMeant = isCurrent && database.name == state.withLock { $0.name }
      guard isMeant else { return }
      database.reading.withLock { _ in database.releaseDaemonLocks() }
      database.forwarding.withLock { $0 = ForwardedLog(borrow: self, id: id) }
      database.isBorrowed.store(true, ordering: .releasing)
    }
    guard isMeant else { return giveBackUnused(id) }
    let isHeld = state.withLock { state in
      guard case .behind(id, _) = state.phase else { return false }
      state.phase = .held(id)
      state.refusal = nil
      return true
    }
    guard isHeld else { return leave() }
    admitParked()
    let delay = state.withLock { $0.parked.isOwed ? $0.parked.courtesy : 0 }
    queue.asyncAfter(deadline: .now() + .milliseconds(delay)) {
      _ = self.state.withLock { $0.parked.forfeit() }
      self.giveBackIfWanted()
    }
    checkIdle()
  }

  private func checkIdle() {
    let uses = state.withLock { $0.uses }
    queue.asyncAfter(deadline: .now() + .milliseconds(Self.idleTime)) {
      let (isHeld, isIdle) = self.state.withLock { state in
        guard case .held = state.phase else { return (false, false) }
        return (true, state.uses == uses)
      }
      guard isHeld else { return }
      isIdle && !self.database.isPinned ? self.giveBack() : self.checkIdle()
    }
  }
}
