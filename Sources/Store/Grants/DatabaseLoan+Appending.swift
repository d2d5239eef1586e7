import Dispatch
import LTX
import Synchronization

// What a replica has written comes to the log, and then into this node's files, as on a replica.

extension DatabaseLoan {
  func appendNow(
    _ lender: Lender,
    _ id: GrantID,
    _ kind: LogEntryKind,
    _ payload: [UInt8]
  ) {
    do throws(StoreError) {
      guard state.withLock({ $0.grants.holder == .replica(lender, id) && !$0.hasEnded }),
        lender.isGranted(id)
      else {
        throw StoreError(.readOnly, "the grant is over")
      }
      if kind != .stage { try check(kind, payload) }
      let index = try lender.whileOpen { () throws(StoreError) in
        try log.append(kind, database: database.name, bytes: payload)
      }
      guard kind != .stage else {
        state.withLock { $0.parts.staged(index) }
        return lender.answer(.appended(id, index))
      }
      log.settleCommits()
      state.withLock { state in
        state.parts.committed()
        state.unapplied.append(index)
      }
      dismissParked()
      applier.enqueue([index])
      if log.needsMajority {
        // Whether a majority has it, the replica learns like all others.
        lender.answer(.appended(id, index))
        return log.confirm(through: index) { _ in }
      }
      // The replica may be asked for durability next.
      log.sync(through: index) { error in
        // It is in the log, and may be there after a crash or not.
        guard let error else { return lender.answer(.appended(id, index)) }
        lender.answer(.ended(id, reason: error.message))
        self.gaveBack(lender, id)
      }
    } catch {
      lender.answer(.refused(id, reason: error.message))
    }
  }

  /// Appends once all before it has been applied, or else never: the replica is told so before it takes the outcome
  /// for unknown.
  func appendInTime(
    _ lender: Lender,
    _ id: GrantID,
    _ kind: LogEntryKind,
    _ payload: [UInt8]
  ) {
    let decision = Once()
    whenApplied { if decision.claim() { self.appendNow(lender, id, kind, payload) } }
    guard !decision.isClaimed else { return }
    queue.asyncAfter(deadline: .now() + .milliseconds(ParkedWriters.patience)) {
      guard decision.claim() else { return }
      let reason = "the one before it cannot be applied on the primary yet; try again"
      lender.answer(.refused(id, reason: reason))
    }
  }

  /// Whether the transaction follows from what is here and is whole.
  private func check(_ kind: LogEntryKind, _ payload: [UInt8]) throws(StoreError) {
    let last = log.last
    let entry = LogEntry(
      id: EntryID(term: last.term, index: last.index.next),
      kind: kind,
      milliseconds: store.context.clock.milliseconds,
      database: database.name,
      payload: payload[...]
    )
    try database.state.withLock { state throws(StoreError) in
      if let failed = state.failed { throw failed }
      guard !state.dropped else {
        throw StoreError(.notFound, "database \(database.name) was removed")
      }
      let plan = try TransactionPlan(entry, log: log, state: state)
      // They would go on with it, and whoever reads without a log not notice what they write.
      guard
        plan.saysWAL != false || !database.isInWALMode(state)
          || !database.mainLocks.hasOther(than: .daemon)
      else {
        throw StoreError(
          .busy,
          "the write-ahead log cannot end while clients of the primary have the database open"
        )
      }
    }
  }

  private var applier: DatabaseApplier {
    applying.withLock { applying in
      if let applying { return applying }
      let applier = DatabaseApplier(name: database.name, engine: self)
      applying = applier
      return applier
    }
  }

  /// More is committed.
  func wake() {
    guard state.withLock({ !$0.unapplied.isEmpty }) else { return }
    applier.wake()
  }

  /// Answers a reader of this node once what is committed up to an entry has been applied.
  func whenApplied(through index: LogIndex, _ answer: @escaping ReadGate.Answer) {
    ReadGate.whenTrue(
      { [weak self] in
        self?.state.withLock { state in
          !state.hasEnded && state.unapplied.first.map { $0 > index } ?? true
        } ?? false
      },
      answer
    )
  }

  /// Calls `body` on the queue once everything appended has been applied.
  func whenApplied(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.unapplied.isEmpty { return true }
      state.afterwards.append(body)
      return false
    }
    if isNow { body() }
  }
}

extension DatabaseLoan: ApplyingEngine {
  func setWaiting(_: String, _ index: LogIndex?) {
    let bodies = state.withLock { state -> [@Sendable () -> Void] in
      state.unapplied.removeAll { entry in index.map { entry < $0 } ?? true }
      guard state.unapplied.isEmpty else { return [] }
      state.parts.applied()
      guard !state.hasEnded else { return [] }
      defer { state.afterwards = [] }
      return state.afterwards
    }
    // One of them may append something again.
    for body in bodies { queue.async { self.whenApplied(body) } }
  }

  func tellProgress() {}
  func wakeAll() {}
  func dismissWriters(of _: String) { dismissParked() }
  func holdsBack(_: String) -> Bool { state.withLock { $0.hasEnded } }
  func releaseIfDecided(_: String) {}
  func has(_: String, reached _: LogIndex) -> Bool { true }
  func applier(_: String) -> DatabaseApplier { applier }

  /// A disk that is full or fails may be mended; what does not follow from what is here will not.
  func retries(_ error: StoreError) -> Bool { error.code != .corrupt && error.code != .diverged }

  func markForRepair(_: Set<String>) {
    let error = StoreError(.system(5), "what a replica has written could not be applied")
    database.state.withLock { state in
      state.failed = Database.lateFailure(database.name, error)
      database.publish(state)
    }
  }
}
