import Dispatch
import LTX
import Logging
import Synchronization

/// One database of a primary that lets replicas write: the shell of its `GrantQueue`.
///
/// To lend the database the daemon takes it over from the primary's own clients, as when the node ceases to be the
/// primary, and applies what the replica appends as a replica does. To have it back it lets go of its locks again.
/// Everything happens on one queue, in order.
final class DatabaseLoan: Sendable {
  enum Party: Hashable, Sendable {
    /// Clients of this node.
    case own
    case replica(Lender, GrantID)
  }

  /// How long a replica may take to give back what it is asked for, in milliseconds.
  static let recallLimit = 10_000
  /// For how long after it was lent the kernel is told nothing of the database's files that it could believe, in
  /// milliseconds.
  static let recently: UInt64 = 60_000

  /// What replicas have written and has not been applied.
  struct Unapplied: Sendable {
    var entries: [LogIndex]
    /// The first part of a large transaction among them.
    var firstPart: LogIndex?
  }

  struct State {
    var grants = GrantQueue<Party>(owner: .own)
    /// Clients that are about to write.
    var parked = ParkedWriters()
    /// Entries that have not been applied yet.
    var unapplied: [LogIndex] = []
    var parts = StagedParts()
    /// What waits until all has been applied.
    var afterwards: [@Sendable () -> Void] = []
    /// Until when clients of this node may keep it that others want.
    var pinnedUntil = DispatchTime.distantFuture
    /// Whether it is being taken over: nobody of this node begins to write at this moment.
    var isTaking = false
    var hasEnded = false
    /// Whether it has ended since the database is gone or is called otherwise, and not the node's time as primary.
    var isRetired = false
  }

  let store: Store
  let database: Database
  /// What the database was called when it was asked for.
  let name: String
  let queue = DispatchQueue(label: "halite.loan", qos: .userInitiated)
  let state = Mutex(State())
  let applying = Mutex<DatabaseApplier?>(nil)

  /// - Parameter former: loans that have been retired: nothing is done before what they have under way is over.
  init(_ database: Database, named name: String, in store: Store, after former: [DatabaseLoan]) {
    self.database = database
    self.name = name
    self.store = store
    for loan in former { queue.async { loan.queue.sync {} } }
  }

  var log: Log { store.log }

  /// The holder, unless it is this node, and how many others wait.
  var standing: (holder: String?, waiting: [String]) {
    state.withLock { state in
      func name(_ party: Party) -> String? {
        if case .replica(let lender, _) = party { return lender.node }
        return nil
      }
      return (name(state.grants.holder), state.grants.waiting.map { name($0) ?? "clients here" })
    }
  }

  // MARK: Inputs

  func ask(_ lender: Lender, _ id: GrantID) {
    queue.async {
      let directives = self.state.withLock { state in
        state.hasEnded ? nil : state.grants.ask(.replica(lender, id))
      }
      guard let directives else { return lender.answer(.ended(id, reason: Self.isOver)) }
      self.perform(directives)
    }
  }

  func gaveBack(_ lender: Lender, _ id: GrantID) {
    queue.async {
      self.whenApplied {
        // Parts of a transaction that will not be committed.
        self.state.withLock { state in
          if state.grants.holder == .replica(lender, id) { state.parts.abandoned() }
        }
        self.perform { $0.gaveBack(.replica(lender, id)) }
      }
    }
  }

  /// Nothing is given to a replica any more from now on.
  func pause() {
    let directives = state.withLock { $0.hasEnded ? [] : $0.grants.pause() }
    queue.async { self.perform(directives) }
  }

  func resume() { queue.async { self.perform { $0.resume() } } }

  /// Appends what a replica has written, and applies it.
  func append(_ lender: Lender, _ id: GrantID, _ kind: LogEntryKind, _ payload: [UInt8]) {
    queue.async {
      guard kind != .stage else { return self.appendNow(lender, id, kind, payload) }
      self.appendInTime(lender, id, kind, payload)
    }
  }

  /// Whether this node's clients have it, and are not about to give it away.
  var isOwn: Bool {
    state.withLock { $0.grants.isOwned } && !database.isLent.load(ordering: .acquiring)
  }

  // MARK: Clients of this node

  /// Keeps a client that wants to write waiting until it is its turn.
  func want(_ answer: @escaping ParkedWriters.Answer) {
    enum Next { case go, refuse, readmit, wait(UInt64) }
    let published = database.published
    let isPinned = database.isPinned
    let next = state.withLock { state -> Next in
      if state.hasEnded { return state.isRetired ? .readmit : .refuse }
      // Not before the daemon has let go of what has just come back.
      if state.grants.holder == .own, !state.isTaking,
        !database.isLent.load(ordering: .acquiring), state.parked.claim() || isPinned
      {
        return .go
      }
      // It keeps what a replica has written from being applied, and has not seen it; or has waited enough.
      guard published.isWAL || state.unapplied.isEmpty, !state.parked.isHopeless else {
        state.parked.owe()
        return .refuse
      }
      return .wait(state.parked.park(answer, at: published.position))
    }
    switch next {
    case .go:
      answer(nil)
      queue.async { self.beginLending() }
    case .refuse:
      answer(Store.walRefusal)
      queue.async { self.perform { $0.ask(.own) } }
    case .readmit: readmit(answer)
    case .wait(let ticket): wait(ticket)
    }
  }

  private func wait(_ ticket: UInt64) {
    queue.async {
      self.perform { $0.ask(.own) }
      // It may have come back just before.
      if self.state.withLock({ $0.grants.isOwned }) { self.admitParked() }
    }
    queue.asyncAfter(deadline: .now() + .milliseconds(ParkedWriters.patience)) {
      let (late, isLast) = self.state.withLock { ($0.parked.expire(ticket), $0.parked.isEmpty) }
      guard let late else { return }
      late(Store.walRefusal)
      if isLast { self.withdraw() }
    }
  }

  /// Nobody of this node wants to write any more.
  private func withdraw() {
    perform { grants in grants.holder == .own ? [] : grants.gaveBack(.own) }
  }

  func readmit(_ answer: @escaping ParkedWriters.Answer) {
    store.paused.wait { self.store.readmit(answer, to: self.database, orElse: Store.walRefusal) }
  }

  private func keepWritersOut() {
    database.guardWriters { [weak self] answer in
      if let self { want(answer) } else { answer(nil) }
    } other: { [weak self] refusal, answer in
      // While the database is lent it is the daemon that does this.
      let isLent = self?.database.isLent.load(ordering: .acquiring) ?? false
      answer(isLent ? refusal : nil)
    }
  }

  // MARK: Directives

  private func perform(
    _ input: @Sendable (inout GrantQueue<Party>) -> [GrantQueue<Party>.Directive]
  ) {
    perform(state.withLock { state in state.hasEnded ? [] : input(&state.grants) })
  }

  private func perform(_ directives: [GrantQueue<Party>.Directive]) {
    for directive in directives {
      switch directive {
      case .recall(.own):
        keepWritersOut()
        let limit = DispatchTime.now() + .milliseconds(Self.recallLimit)
        state.withLock { $0.pinnedUntil = limit }
        let (isOwed, courtesy) = state.withLock { ($0.parked.isOwed, $0.parked.courtesy) }
        if isOwed {
          queue.asyncAfter(deadline: .now() + .milliseconds(courtesy)) {
            // Else it was claimed, which has begun it.
            if self.state.withLock({ $0.parked.forfeit() }) { self.beginLending() }
          }
        } else {
          beginLending()
        }
      case .recall(.replica(let lender, let id)):
        let recall = state.withLock { $0.grants.recalls }
        lender.answer(.recalled(id))
        queue.asyncAfter(deadline: .now() + .milliseconds(Self.recallLimit)) {
          self.revoke(lender, id, recall)
        }
      case .give(.own): endLending()
      case .give(.replica(let lender, let id)):
        // Its connection may have ended before it had asked.
        guard lender.isGranted(id) else {
          gaveBack(lender, id)
          continue
        }
        lender.answer(.given(id, through: database.state.withLock { $0.entry }))
      }
    }
  }

  private func revoke(_ lender: Lender, _ id: GrantID, _ recall: Int) {
    let isDue = state.withLock { state in
      !state.hasEnded && state.grants.isDue(.replica(lender, id), recall: recall)
    }
    guard isDue else { return }
    store.context.logger.warning(
      "a replica did not give a database back in time, and can commit nothing to it any more",
      metadata: ["database": "\(database.name)", "replica": "\(lender.node)"]
    )
    lender.answer(.ended(id, reason: "it was not given back in time, and others wait for it"))
    gaveBack(lender, id)
  }

  /// A client of this node that kept the right to write has let go of it.
  func unpinned() { queue.async { self.beginLending() } }

  private func beginLending() {
    let limit = state.withLock { $0.pinnedUntil }
    // Looked at again when it is let go of, or at the latest then.
    guard !database.isPinned || DispatchTime.now() >= limit else {
      return queue.asyncAfter(deadline: limit) { self.beginLending() }
    }
    let begins = state.withLock { state in
      guard !state.hasEnded, state.grants.holder == .own, state.grants.isRecalled, !state.isTaking
      else { return false }
      state.isTaking = true
      return true
    }
    guard begins else { return }
    let now = store.context.clock.milliseconds
    let before = database.lentAt.exchange(now, ordering: .acquiringAndReleasing)
    // What the kernel may still believe of the file, which the daemon is about to change.
    let isBelieved = now &- before > Self.recently && !database.published.isWAL
    let delay = isBelieved ? Store.settlingMilliseconds : 0
    queue.asyncAfter(deadline: .now() + .milliseconds(delay)) { self.tryToLend(pause: 1) }
  }

  /// Whether clients of this node have the grant and are to give it up.
  private var isBeingRecalled: Bool {
    state.withLock { !$0.hasEnded && $0.grants.holder == .own && $0.grants.isRecalled }
  }

  /// - Parameter isMended: whether the files have been recorded as they are since the database was asked for.
  private func tryToLend(pause: Int, isMended: Bool = false) {
    guard isBeingRecalled else { return state.withLock { $0.isTaking = false } }
    guard isOfDatabase else { return retire() }
    // A hand-over that was given up has let them in again.
    keepWritersOut()
    log.settleCommits()
    switch Result(catching: { () throws(StoreError) in try database.takeOver() }) {
    case .success(.done):
      switch noteLent() {
      case true?: perform { $0.gaveBack(.own) }
      case false?: tryToLendLater(pause, isMended)
      case nil: break
      }
    case .success(.later): tryToLendLater(pause, isMended)
    case .success(.gone): retire()
    case .success(.differs):
      guard !isMended, recordInterrupted() else {
        return refuse("the primary's own files of it are not as they were committed")
      }
      tryToLendLater(pause, true)
    case .failure(let error): refuse(error.message)
    }
  }

  private func tryToLendLater(_ pause: Int, _ isMended: Bool) {
    let next = min(2 * pause, Store.takeOverMilliseconds)
    queue.asyncAfter(deadline: .now() + .milliseconds(pause)) {
      self.tryToLend(pause: next, isMended: isMended)
    }
  }

  /// Lends the database to nobody.
  private func refuse(_ reason: String) {
    store.context.logger.error(
      "a database cannot be lent to a replica",
      metadata: ["database": "\(database.name)", "reason": "\(reason)"]
    )
    let waiting = state.withLock { state in
      state.isTaking = false
      return state.grants.waiting
    }
    for case .replica(let lender, let id) in waiting {
      lender.answer(.ended(id, reason: reason))
      perform { $0.gaveBack(.replica(lender, id)) }
    }
    perform { $0.gaveBack(.own) }
  }

  /// Clients of this node write again.
  private func endLending() {
    database.reading.withLock { _ in database.releaseDaemonLocks() }
    database.isLent.store(false, ordering: .releasing)
    database.lentAt.store(store.context.clock.milliseconds, ordering: .releasing)
    if store.paused.isPaused {
      store.pauseWriters(of: database)
    } else {
      store.admitWriters(of: database)
    }
    admitParked()
  }

  /// With a rollback journal a client that reads keeps the node from applying anything, and what it has seen is
  /// not current any more: it is to try again.
  func dismissParked() {
    guard !database.published.isWAL else { return }
    for answer in state.withLock({ $0.parked.dismiss() }) { answer(Store.walRefusal) }
  }

  /// It is the turn of this node's clients.
  private func admitParked() {
    let position = database.published.position
    for answer in state.withLock({ $0.parked.admit(at: position) }) { readmit(answer) }
  }

  // MARK: End

  /// The first entry that is still needed to apply what replicas have written, or are writing.
  var firstUnapplied: LogIndex? {
    state.withLock { [$0.unapplied.first, $0.parts.first].compactMap { $0 }.min() }
  }

  /// This node is not the primary any more. Cheap.
  func end() {
    let (parked, parties) = state.withLock { state in
      state.hasEnded = true
      database.isLent.store(false, ordering: .releasing)
      state.afterwards = []
      let parties = [state.grants.holder] + state.grants.waiting
      return (state.parked.take(), parties)
    }
    for answer in parked { answer(Store.walRefusal) }
    for case .replica(let lender, let id) in parties {
      lender.answer(.ended(id, reason: "this node is not the primary any more"))
    }
  }

  /// Waits until nothing is under way, and tells what has not been applied. After `end`; blocks.
  func takeUnapplied() -> Unapplied {
    queue.sync {}
    if let applier = applying.withLock({ $0 }) { try? applier.alone {} }
    return state.withLock { Unapplied(entries: $0.unapplied, firstPart: $0.parts.first) }
  }
}
