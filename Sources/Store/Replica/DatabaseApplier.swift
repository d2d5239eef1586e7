import Dispatch
import LTX
import Logging
import Synchronization

/// Applies the entries of one database, in order, on a queue of its own.
final class DatabaseApplier: Sendable {
  /// How long new readers are kept out while the last ones finish, before they are let in again
  /// for as long: a reader that stays must not shut out all others (rollback-journal mode only).
  static let exclusionMilliseconds = 500
  /// Before what failed is tried again, in milliseconds.
  private static let failurePause = 1_000

  private struct State {
    var pending: [LogIndex] = []
    /// Entries at the front of `pending` that are done.
    var done = 0
    var running = false
    /// How many have the database to themselves at the moment, or wait for that.
    var holders = 0
    var idle: [Gate] = []
    /// Changes when the entries that wait are forgotten.
    var epoch = 0

    var next: LogIndex? { done < pending.count ? pending[done] : nil }

    /// How many entries, the next one included, lie one behind the other in the log.
    func run(upTo most: Int, through last: LogIndex) -> Int {
      var count = 0
      while count < most, done + count < pending.count {
        let index = pending[done + count]
        guard index <= last, index.rawValue == pending[done].rawValue + UInt64(count) else { break }
        count += 1
      }
      return count
    }
  }

  let name: String
  private unowned let engine: any ApplyingEngine
  private let queue: DispatchQueue
  private let state = Mutex(State())
  /// Of whoever is running.
  private let ahead = Mutex(EntriesAhead())

  init(name: String, engine: any ApplyingEngine) {
    self.name = name
    self.engine = engine
    queue = DispatchQueue(label: "halite.apply", qos: .userInitiated)
  }

  private var store: Store { engine.store }

  /// - Parameter entries: ascending, and behind all that wait.
  func enqueue(_ entries: [LogIndex]) {
    guard let first = entries.first else { return }
    let start = state.withLock { state -> Bool in
      if state.next == nil { engine.setWaiting(name, first) }
      state.pending.append(contentsOf: entries)
      return Self.begin(&state)
    }
    engine.tellProgress()
    if start { schedule() }
  }

  private static func begin(_ state: inout State) -> Bool {
    guard !state.running, state.holders == 0, state.next != nil else { return false }
    state.running = true
    return true
  }

  /// Performs `body` while nothing is applied: whoever changes the files in another way has the
  /// daemon's locks in common with the applier, so that these do not keep the two apart.
  ///
  /// Blocks for as long as a step of the applier takes.
  func alone<T>(_ body: () throws(StoreError) -> T) throws(StoreError) -> T {
    let gate = state.withLock { state -> Gate? in
      state.holders += 1
      guard state.running else { return nil }
      let gate = Gate()
      state.idle.append(gate)
      return gate
    }
    gate?.wait()
    defer {
      state.withLock { $0.holders -= 1 }
      settleUndecided()
      wake()
    }
    return try body()
  }

  /// Goes on after a while, or at once. What is scheduled keeps the engine alive.
  private func schedule(after milliseconds: Int = 0) {
    let engine = engine
    queue.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) {
      withExtendedLifetime(engine) { self.run() }
    }
  }

  /// Goes on after whatever stopped it.
  func wake() {
    if state.withLock({ Self.begin(&$0) }) { schedule() }
  }

  /// Lets readers in, if that waits for a decision and nothing else is under way, which would do it.
  func settleUndecided() {
    let engine = engine
    queue.async { [self] in
      withExtendedLifetime(engine) {
        let isIdle = state.withLock { !$0.running && $0.holders == 0 }
        if isIdle { engine.releaseIfDecided(name) }
      }
    }
  }

  /// The entries waiting are no longer in the log.
  func forgetQueue() {
    state.withLock { state in
      state.pending = []
      state.done = 0
      state.epoch += 1
      engine.setWaiting(name, nil)
    }
    engine.tellProgress()
    engine.wakeAll()
  }

  private func advance(past index: LogIndex) {
    state.withLock { state in
      if state.next == index { state.done += 1 }
      if state.done > 1024 {
        state.pending.removeFirst(state.done)
        state.done = 0
      }
      engine.setWaiting(name, state.next)
    }
    engine.tellProgress()
  }

  private func stop() {
    let idle = state.withLock { state -> [Gate] in
      defer { state.idle = [] }
      state.running = false
      return state.idle
    }
    for gate in idle { gate.open() }
  }

  /// The next entry, unless there is none or somebody wants the database for himself.
  private func next() -> (index: LogIndex, epoch: Int)? {
    state.withLock { state in
      guard state.holders == 0, let index = state.next else { return nil }
      return (index, state.epoch)
    }
  }

  /// An entry that `next` has returned.
  private func entry(_ index: LogIndex, epoch: Int) throws(StoreError) -> LogEntry {
    var entry: LogEntry?
    let failure = ahead.withLock { ahead -> StoreError? in
      do throws(StoreError) {
        entry = try ahead.entry(at: index, epoch: epoch, from: store.log) {
          let committed = store.log.committed
          return state.withLock { $0.run(upTo: EntriesAhead.most, through: committed) }
        }
        return nil
      } catch { return error }
    }
    guard let entry else {
      throw failure ?? StoreError(.notFound, "log entry \(index) is not there")
    }
    return entry
  }

  private enum Step {
    case again, stop, exclusive
    /// The queue of this other name must first come to, or past, this entry.
    case other(String, LogIndex)
  }

  private func run() {
    while true {
      guard let next = next() else {
        ahead.withLock { $0.forget() }
        stop()
        // Something may have come between the look and the stop.
        return wake()
      }
      let index = next.index
      guard !store.context.isStopping.withLock({ $0 }), !engine.holdsBack(name) else {
        return stop()
      }
      engine.releaseIfDecided(name)
      guard index <= store.log.committed else {
        stop()
        // It may have been committed between the look and the stop.
        if index <= store.log.committed { wake() } else { settleUndecided() }
        return
      }
      switch attempt(index, epoch: next.epoch) {
      case .again: continue
      case .stop: return stop()
      case .exclusive: return takeExclusive(index)
      case .other(let other, let index):
        stop()
        // It may have come there between the look and the stop.
        if engine.has(other, reached: index) { wake() }
        return
      }
    }
  }

  private func attempt(_ index: LogIndex, epoch: Int) -> Step {
    do throws(StoreError) {
      let entry = try entry(index, epoch: epoch)
      let step: Step
      switch entry.kind {
      case .transaction, .stagedTransaction: step = try applyShared(entry)
      case .drop:
        try store.applyDrop(entry)
        step = .again
      case .rename: step = try applyRename(entry)
      case .noOperation, .stage: step = .again
      }
      if case .again = step { advance(past: index) }
      return step
    } catch {
      return failed(error)
    }
  }

  /// A rename stands in the queues of both names. The old name's performs it, once the new name's
  /// has come to it; that one goes on when it is done.
  private func applyRename(_ entry: LogEntry) throws(StoreError) -> Step {
    let target = String(decoding: entry.payload, as: UTF8.self)
    let index = entry.id.index
    guard entry.database == name else {
      if engine.has(entry.database, reached: index.next) { return .again }
      engine.applier(entry.database).wake()
      return .other(entry.database, index.next)
    }
    guard engine.has(target, reached: index) else { return .other(target, index) }
    // A database that came with a snapshot from after this entry has its name already; what the
    // renamed one has become is then not here, and is fetched.
    if try !store.applyRename(entry) { try engine.markForRepair([target]) }
    advance(past: index)
    engine.applier(target).wake()
    return .again
  }

  /// What cannot be applied is fetched: pages by pages that differ.
  private func failed(_ error: StoreError) -> Step {
    if engine.retries(error) {
      store.context.logger.error(
        "a transaction cannot be applied; it is tried again",
        metadata: ["database": "\(name)", "error": "\(error)"]
      )
      let engine = engine
      queue.asyncAfter(deadline: .now() + .milliseconds(Self.failurePause)) {
        withExtendedLifetime(engine) { self.wake() }
      }
      return .stop
    }
    store.context.logger.error(
      "a transaction cannot be applied; the database is compared with the primary's",
      metadata: ["database": "\(name)", "error": "\(error)"]
    )
    do throws(StoreError) {
      try engine.markForRepair([name])
    } catch {
      store.context.logger.error(
        "a repair cannot be noted",
        metadata: ["database": "\(name)", "error": "\(error)"]
      )
    }
    return .stop
  }

  /// Applies by the write-ahead log where the database is in that mode.
  private func applyShared(_ entry: LogEntry) throws(StoreError) -> Step {
    let database = store.makeDatabase(name, madeBy: entry.id.index)
    let (step, wants) = try database.state.withLock { state throws(StoreError) -> (Step, Bool) in
      guard entry.id.index > state.entry else { return (.again, false) }
      // Clients of this node are writing it.
      guard !database.isBorrowed.load(ordering: .acquiring) else { return (.stop, false) }
      guard database.isInWALMode(state) else { return (.exclusive, false) }
      let plan = try TransactionPlan(entry, log: store.log, state: state)
      guard !plan.isRebuilt, plan.header.commit > 0 else { return (.exclusive, false) }
      // The log ends with it, unless there are clients who go on with it until they close the database.
      if plan.saysWAL == false, !database.mainLocks.hasOther(than: .daemon) {
        return (.exclusive, false)
      }
      try database.applyToWAL(plan, log: store.log, salts: store.context.random, in: &state)
      return (.again, state.wal.frames >= state.checkpointAt)
    }
    guard case .again = step else { return step }
    store.tellCommitted(database)
    if wants { try checkpoint(database) }
    return .again
  }

  private func checkpoint(_ database: Database) throws(StoreError) {
    let last = database.state.withLock { $0.entry }
    try store.log.syncAndWait(through: last)
    try database.state.withLock { state throws(StoreError) in
      state.checkpointAt = state.wal.frames + Database.checkpointFrames
      _ = try database.checkpoint(in: &state)
    }
  }

  // MARK: Rollback-journal mode

  /// Takes the locks a rollback-journal writer takes, without a thread waiting for them.
  private func takeExclusive(_ index: LogIndex) {
    let database = store.makeDatabase(name, madeBy: index)
    let engine = engine
    let pending = LockRequest(owner: .daemon, kind: .write, range: MainLock.pending)
    database.mainLocks.set(pending, wait: true) { [self] outcome in
      guard outcome == .granted else { return retryLater() }
      // Nobody comes to read any more.
      engine.dismissWriters(of: name)
      let shared = LockRequest(owner: .daemon, kind: .write, range: MainLock.shared)
      let limit = Once()
      let ticket = database.mainLocks.set(shared, wait: true) { [self] outcome in
        guard limit.claim() || outcome == .granted else { return }
        queue.async { [self, engine] in
          defer { withExtendedLifetime(engine) {} }
          if outcome == .granted {
            applyExclusive(index, database)
          } else {
            database.unlockExclusive()
            retryLater()
          }
        }
      }
      guard let ticket else { return }
      queue.asyncAfter(deadline: .now() + .milliseconds(Self.exclusionMilliseconds)) {
        database.mainLocks.cancel(ticket)
      }
    }
  }

  private func retryLater() {
    schedule(after: Self.exclusionMilliseconds / 10)
  }

  private func applyExclusive(_ index: LogIndex, _ database: Database) {
    // A repair may have begun during the wait for the lock.
    guard !store.context.isStopping.withLock({ $0 }), !engine.holdsBack(name) else {
      database.unlockExclusive()
      return stop()
    }
    var again = true
    var isApplied = false
    do throws(StoreError) {
      let entry = try store.log.entry(at: index)
      // A crash while pages are being written is made good from the log, which must have them.
      try store.log.syncAndWait(through: index)
      try store.ensureMainFile(database)
      try database.state.withLock { state throws(StoreError) in
        guard entry.id.index > state.entry else { return }
        try database.undoAbandoned(in: &state)
        if database.isInWALMode(state) { try database.leaveWALMode(in: &state) }
        let plan = try TransactionPlan(entry, log: store.log, state: state)
        try database.applyToMain(plan, log: store.log, in: &state)
        try database.enterWALModeIfSaid(in: &state)
      }
      isApplied = true
    } catch {
      if case .stop = failed(error) { again = false }
    }
    if !database.isTorn { database.unlockExclusive() }
    // Only now, since others may then take the daemon's locks for what they do.
    if isApplied {
      advance(past: index)
      store.tellCommitted(database)
    }
    if again { run() } else { stop() }
  }
}
