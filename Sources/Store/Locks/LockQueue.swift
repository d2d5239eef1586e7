/// A file's lock table with those who wait, as a pure value: inputs return what to do next.
///
/// Waiting is fair: among waiters who exclude each other the first served is the first come.
/// An owner who already has locks on the file is exempt, since the ones before it may wait for
/// exactly those. Requests that do not wait look only at what is held, as in a local file system;
/// what the daemon holds briefly delays them, so that an application never sees the daemon's work.
struct LockQueue: Sendable {
  struct Waiter: Sendable {
    var ticket: LockTicket
    var request: LockRequest
    /// Whether it waits for anybody, or only for what the daemon holds briefly.
    var isPatient: Bool
    var done: @Sendable (LockOutcome) -> Void
  }

  /// What the shell does once the mutex is free again.
  enum Action: Sendable {
    case answer(@Sendable (LockOutcome) -> Void, LockOutcome)
    /// Ask the observer, then admit the request with `observed: true`.
    case observe(LockObserver, [HeldLock], Waiter)
    /// Ask whether it may be admitted at all, and admit it then.
    case ask(LockGuard, Waiter)
  }

  /// Which locks go; nil matches all.
  struct Selection: Sendable {
    var owner: LockOwner?
    var handle: UInt64?
    var range: LockRange?

    func matches(_ lock: HeldLock) -> Bool {
      (owner == nil || lock.owner == owner) && (handle == nil || lock.handle == handle)
        && (range.map { $0.overlaps(lock.range) } ?? true)
    }
  }

  private(set) var table = LockTable()
  private var waiters: [Waiter] = []
  /// Those of whom a guard has been asked, and has not answered.
  private var asking: [LockTicket: Waiter] = [:]
  private var lastTicket: UInt64 = 0
  var watched: [LockRange] = []
  var observer: LockObserver?
  var entrance: (range: LockRange, body: LockGuard)?
  var readEntrance: (range: LockRange, body: LockGuard)?

  /// Who is to be asked before the request is admitted.
  func guarding(_ request: LockRequest) -> LockGuard? {
    let entrance = request.kind == .write ? entrance : readEntrance
    guard let entrance, request.owner != .daemon,
      entrance.range.overlaps(request.range)
    else { return nil }
    return entrance.body
  }

  mutating func ask(_ guardian: @escaping LockGuard, about waiter: Waiter) -> [Action] {
    asking[waiter.ticket] = waiter
    return [.ask(guardian, waiter)]
  }

  /// A guard has answered.
  mutating func answered(_ waiter: Waiter, _ error: StoreError?) -> [Action] {
    // Else it was cancelled meanwhile.
    guard asking.removeValue(forKey: waiter.ticket) != nil else { return [] }
    if let error { return [.answer(waiter.done, .failed(error.code))] }
    return admit(waiter)
  }

  mutating func makeTicket() -> LockTicket {
    lastTicket += 1
    return LockTicket(number: lastTicket)
  }

  /// Grants, refuses or queues a request.
  ///
  /// - Parameter observed: whether the observer has already agreed to what the grant gives up.
  mutating func admit(_ waiter: Waiter, observed: Bool = false) -> [Action] {
    let request = waiter.request
    if table.conflict(with: request) != nil {
      if waiter.isPatient {
        if closesCircle(request) { return [.answer(waiter.done, .deadlock)] }
      } else if !table.hasOnlyBriefConflicts(with: request) {
        return [.answer(waiter.done, .conflict)]
      }
      waiters.append(waiter)
      return []
    }
    if waiter.isPatient, mustQueue(request, behind: waiters[...]) {
      waiters.append(waiter)
      return []
    }
    let action = grant(waiter, observed: observed)
    return [action] + wake()
  }

  /// Takes the lock for a caller who has made sure that nothing conflicts.
  mutating func insert(_ request: LockRequest) -> [Action] {
    table.insert(request)
    return wake()
  }

  mutating func cancel(_ ticket: LockTicket) -> [Action] {
    if let waiter = asking.removeValue(forKey: ticket) {
      return [.answer(waiter.done, .interrupted)]
    }
    guard let index = waiters.firstIndex(where: { $0.ticket == ticket }) else { return [] }
    let waiter = waiters.remove(at: index)
    return [.answer(waiter.done, .interrupted)] + wake()
  }

  mutating func cancelAll() -> [Action] {
    defer {
      waiters = []
      asking = [:]
    }
    return (waiters + asking.values).map { .answer($0.done, .interrupted) }
  }

  mutating func remove(_ selection: Selection) -> [Action] {
    if let owner = selection.owner, let range = selection.range {
      table.remove(owner: owner, range: range)
    } else {
      table.removeAll(where: selection.matches)
    }
    return wake()
  }

  /// The exclusive locks a removal would give up that the observer must hear of first.
  func watchedLocks(_ selection: Selection) -> [HeldLock] {
    guard observer != nil else { return [] }
    return table.held.filter { lock in
      lock.kind == .write && lock.owner != .daemon && selection.matches(lock)
        && watched.contains {
          $0.overlaps(lock.range) && (selection.range?.overlaps($0) ?? true)
        }
    }
  }

  /// Grants what can now be granted, in the order of arrival. A grant may give something up
  /// itself (a write lock that becomes a read lock), so each is followed by a look from the start.
  private mutating func wake() -> [Action] {
    var actions: [Action] = []
    while let index = waiters.indices.first(where: { isDecided(at: $0) }) {
      let waiter = waiters.remove(at: index)
      if table.conflict(with: waiter.request) == nil {
        actions.append(grant(waiter, observed: false))
      } else {
        actions.append(.answer(waiter.done, .conflict))
      }
    }
    return actions
  }

  /// Whether the wait is over: the lock can be had, or who would not wait meets somebody's lock.
  private func isDecided(at index: Int) -> Bool {
    let waiter = waiters[index]
    if table.conflict(with: waiter.request) == nil {
      return !waiter.isPatient || !mustQueue(waiter.request, behind: waiters[..<index])
    }
    return !waiter.isPatient && !table.hasOnlyBriefConflicts(with: waiter.request)
  }

  private mutating func grant(_ waiter: Waiter, observed: Bool) -> Action {
    let request = waiter.request
    if !observed, request.kind == .read, let observer {
      let lost = watchedLocks(Selection(owner: request.owner, range: request.range))
      if !lost.isEmpty { return .observe(observer, lost, waiter) }
    }
    table.insert(request)
    return .answer(waiter.done, .granted)
  }

  /// Whether a request that nothing held stands against must still wait for its turn.
  private func mustQueue(_ request: LockRequest, behind others: ArraySlice<Waiter>) -> Bool {
    others.contains { LockTable.conflicts($0.request, request) }
      && !table.held.contains { $0.owner == request.owner }
  }

  /// Whether one of those in the way waits, directly or through others, for the asking owner.
  private func closesCircle(_ request: LockRequest) -> Bool {
    var seen: Set<LockOwner> = []
    var open = blockers(of: request)
    while let owner = open.popLast() {
      if owner == request.owner { return true }
      guard seen.insert(owner).inserted else { continue }
      for waiter in waiters where waiter.request.owner == owner {
        open += blockers(of: waiter.request)
      }
    }
    return false
  }

  private func blockers(of request: LockRequest) -> [LockOwner] {
    table.held.filter { LockTable.conflicts($0, request) }.map(\.owner)
  }
}
