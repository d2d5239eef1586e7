import Synchronization

/// Is told that exclusive locks are about to be given up, and lets that happen with `proceed`.
///
/// Called without any mutex held, on the thread of whoever gives the locks up; `proceed` may be
/// called at once or later on any thread, and counts once. Until then the locks stay held.
package typealias LockObserver =
  @Sendable (_ givenUp: [HeldLock], _ by: LockEnd, _ proceed: @escaping @Sendable () -> Void) ->
  Void

/// How exclusive locks come to be given up.
package enum LockEnd: Sendable {
  /// Their owner said so.
  case unlock
  /// Their owner closed the file, or died.
  case close
}

/// Is asked before a lock is given to one of the kernel's owners, and answers, at once or later
/// on any thread, with nil or why it must not be.
package typealias LockGuard =
  @Sendable (_ request: LockRequest, _ answer: @escaping @Sendable (StoreError?) -> Void) -> Void

/// The lock table of one file, with those who wait for a lock of it.
///
/// An observer can be set for some byte ranges: it learns of every exclusive lock of the kernel's
/// owners there before anybody else could get it (unlock, change into a read lock, close, death).
///
/// Completions and the observer are always called without the mutex held, so they may call back.
package final class FileLocks: Sendable {
  private let queue = Mutex(LockQueue())

  package init() {}

  /// Watches ranges; to be called before the first lock is taken.
  package func setObserver(ranges: [LockRange], _ observer: @escaping LockObserver) {
    queue.withLock {
      $0.watched = ranges
      $0.observer = observer
    }
  }

  /// Sets who is asked before exclusive locks that overlap the range are given out; nil takes that back.
  package func setGuard(range: LockRange, _ body: LockGuard?) {
    queue.withLock { queue in
      queue.entrance = nil
      if let body { queue.entrance = (range, body) }
    }
  }

  /// The same for shared locks.
  package func setReadGuard(range: LockRange, _ body: LockGuard?) {
    queue.withLock { queue in
      queue.readEntrance = nil
      if let body { queue.readEntrance = (range, body) }
    }
  }

  // MARK: Taking

  /// Takes a lock; `done` is called once, inline when the outcome is known at once.
  ///
  /// Without `wait` it is known at once unless only the daemon's brief locks are in the way.
  ///
  /// - Returns: what cancels the wait, if the caller would wait.
  @discardableResult
  package func set(
    _ request: LockRequest,
    wait: Bool,
    done: @escaping @Sendable (LockOutcome) -> Void
  ) -> LockTicket? {
    let (ticket, actions) = queue.withLock { queue -> (LockTicket, [LockQueue.Action]) in
      let ticket = queue.makeTicket()
      let waiter = LockQueue.Waiter(
        ticket: ticket,
        request: request,
        isPatient: wait,
        done: done
      )
      if let body = queue.guarding(request) { return (ticket, queue.ask(body, about: waiter)) }
      return (ticket, queue.admit(waiter))
    }
    perform(actions)
    return wait ? ticket : nil
  }

  /// Takes a lock for the daemon if nobody else has one in the way.
  ///
  /// - Parameter briefly: whether applications are to wait for it (`LockRequest.isBrief`).
  package func tryLock(_ kind: LockKind, _ range: LockRange, briefly: Bool = false) -> Bool {
    let request = LockRequest(owner: .daemon, kind: kind, range: range, isBrief: briefly)
    let actions = queue.withLock { queue -> [LockQueue.Action]? in
      guard queue.table.conflict(with: request) == nil else { return nil }
      return queue.insert(request)
    }
    guard let actions else { return false }
    perform(actions)
    return true
  }

  /// Performs `body` if nobody has a lock in the range, and keeps anybody from taking one meanwhile.
  ///
  /// - Parameter body: short, and without a call back into this table or anything that can wait for a request
  ///   of the mount.
  package func whileFree(_ range: LockRange, _ body: () -> Void) -> Bool {
    queue.withLock { queue in
      guard !queue.table.held.contains(where: { $0.range.overlaps(range) }) else { return false }
      body()
      return true
    }
  }

  /// Ends a wait with `.interrupted`; does nothing when its outcome is already known.
  package func cancel(_ ticket: LockTicket) {
    perform(queue.withLock { $0.cancel(ticket) })
  }

  /// Ends all waits with `.interrupted`: the mount is gone.
  package func cancelAll() {
    perform(queue.withLock { $0.cancelAll() })
  }

  // MARK: Giving up

  /// Gives up what the owner has within the range, whatever handle it was taken through.
  package func unlock(
    owner: LockOwner,
    handle: UInt64 = 0,
    range: LockRange,
    done: @escaping @Sendable () -> Void = {}
  ) {
    release(.init(owner: owner, range: range), done: done)
  }

  /// Gives up all locks of an owner: a process closed one of its descriptors of the file.
  package func releaseAll(owner: LockOwner, done: @escaping @Sendable () -> Void = {}) {
    release(.init(owner: owner), done: done)
  }

  /// Gives up all locks that came through an open file: its last descriptor is gone.
  package func releaseAll(handle: UInt64, done: @escaping @Sendable () -> Void = {}) {
    release(.init(handle: handle), done: done)
  }

  // MARK: Looking

  /// A lock that would be in the way.
  package func test(_ request: LockRequest) -> HeldLock? {
    queue.withLock { $0.table.conflict(with: request) }
  }

  /// Whether the owner holds all of the range, at least as strongly as `kind`.
  package func holds(owner: LockOwner, range: LockRange, kind: LockKind) -> Bool {
    queue.withLock { $0.table.holds(owner: owner, range: range, kind: kind) }
  }

  /// Whether anybody holds a lock in the range, of that kind if one is given.
  package func isLocked(_ range: LockRange, _ kind: LockKind? = nil) -> Bool {
    queue.withLock { queue in
      queue.table.held.contains { $0.range.overlaps(range) && (kind == nil || $0.kind == kind) }
    }
  }

  /// Whether anybody but the owner holds a lock on the file, or in a range of it.
  package func hasOther(
    than owner: LockOwner,
    in range: LockRange = LockRange(0, .max)
  ) -> Bool {
    queue.withLock { queue in
      queue.table.held.contains { $0.owner != owner && $0.range.overlaps(range) }
    }
  }

  /// All locks held, for status and tests.
  package var held: [HeldLock] { queue.withLock { $0.table.held } }

  // MARK: -

  private func release(_ selection: LockQueue.Selection, done: @escaping @Sendable () -> Void) {
    let (observer, lost, actions) = queue.withLock {
      queue -> (LockObserver?, [HeldLock], [LockQueue.Action]) in
      let lost = queue.watchedLocks(selection)
      return lost.isEmpty ? (nil, [], queue.remove(selection)) : (queue.observer, lost, [])
    }
    guard let observer else {
      perform(actions)
      done()
      return
    }
    let once = Once()
    observer(lost, selection.range == nil ? .close : .unlock) { [self] in
      guard once.claim() else { return }
      perform(queue.withLock { $0.remove(selection) })
      done()
    }
  }

  private func perform(_ actions: [LockQueue.Action]) {
    for action in actions {
      switch action {
      case .answer(let done, let outcome):
        done(outcome)
      case .observe(let observer, let lost, let waiter):
        let once = Once()
        observer(lost, .unlock) { [self] in
          guard once.claim() else { return }
          perform(queue.withLock { $0.admit(waiter, observed: true) })
        }
      case .ask(let body, let waiter):
        let once = Once()
        body(waiter.request) { [self] error in
          guard once.claim() else { return }
          perform(queue.withLock { $0.answered(waiter, error) })
        }
      }
    }
  }
}
