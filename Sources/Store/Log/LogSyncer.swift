import Synchronization

/// Makes the log durable on behalf of all who wait: one `fdatasync` answers everyone whose entry
/// was written before it began.
///
/// After a sync that failed nothing is called durable until the log has been written anew: what it
/// should have written may be lost, and the kernel reports that only once.
final class LogSyncer: Sendable {
  private struct Waiter {
    var index: LogIndex
    var done: MountCompletion
    /// Of the round after which it came.
    var round: Int
  }

  private struct State {
    var durable: LogIndex
    var waiters: [Waiter] = []
    var running = false
    var failed: StoreError?
    /// Counts syncs that were begun.
    var round = 0
    /// Counts cuts: a sync that began before one says nothing about the entries after it.
    var generation = 0
  }

  private let state: Mutex<State>
  private let thread = UrgentThread("halite-log-sync")

  init(durable: LogIndex) {
    state = Mutex(State(durable: durable))
  }

  var durable: LogIndex { state.withLock { $0.durable } }

  /// The log was cut: what is gone is no longer durable, and nobody waits for it.
  func cut(to index: LogIndex) { shorten(to: index) { min($0, index) } }

  /// The log was emptied and continues after `index`.
  func reset(to index: LogIndex) { shorten(to: index) { _ in index } }

  /// The log was written anew and is durable up to `index`.
  func mended(through index: LogIndex) {
    state.withLock { state in
      state.failed = nil
      state.durable = max(state.durable, index)
      state.generation += 1
    }
  }

  private func shorten(to index: LogIndex, _ durable: (LogIndex) -> LogIndex) {
    let gone = state.withLock { state -> [Waiter] in
      state.durable = durable(state.durable)
      state.generation += 1
      let gone = state.waiters.filter { $0.index > index }
      state.waiters.removeAll { $0.index > index }
      return gone
    }
    for waiter in gone { waiter.done(Self.missing(waiter.index)) }
  }

  func wait(for index: LogIndex, log: Log, done: @escaping MountCompletion) {
    wait(for: index, log: log, last: log.last.index, done: done)
  }

  /// - Parameter last: the log's end a moment ago; it may have been cut since.
  func wait(for index: LogIndex, log: Log, last: LogIndex, done: @escaping MountCompletion) {
    enum Next { case answer(StoreError?), wait, start }
    let next = state.withLock { state -> Next in
      if index <= state.durable { return .answer(nil) }
      if let failed = state.failed { return .answer(failed) }
      guard index <= last else { return .answer(Self.missing(index)) }
      state.waiters.append(Waiter(index: index, done: done, round: state.round))
      if state.running { return .wait }
      state.running = true
      return .start
    }
    switch next {
    case .answer(let error): done(error)
    case .wait: break
    case .start: thread.async { self.run(log) }
    }
  }

  private static func missing(_ index: LogIndex) -> StoreError {
    StoreError(.notFound, "entry \(index) is not in the log (any more) and cannot be made durable")
  }

  /// Syncs until nobody waits.
  private func run(_ log: Log) {
    while true {
      let (generation, round) = state.withLock { state in
        state.round += 1
        return (state.generation, state.round)
      }
      let (target, file) = log.state.withLock { ($0.last.index, $0.segments.last?.file) }
      var failure: StoreError?
      do throws(StoreError) {
        // Segments before the active one were synced when it was begun.
        try file?.sync()
      } catch {
        let final = log.failedSync(error)
        log.state.withLock { $0.failed = final }
        failure = final
      }
      let (ready, gone, more) = state.withLock { state -> ([Waiter], [Waiter], Bool) in
        if let failure {
          state.failed = failure
        } else if state.generation == generation {
          state.durable = max(state.durable, target)
        }
        let limit = failure == nil ? state.durable : LogIndex(.max)
        let ready = state.waiters.filter { $0.index <= limit }
        state.waiters.removeAll { $0.index <= limit }
        // Whoever came before this round saw his entry in the log: it was cut off before he was noted as waiting.
        let isGone = { (waiter: Waiter) in waiter.index > target && waiter.round < round }
        let gone = state.waiters.filter(isGone)
        state.waiters.removeAll(where: isGone)
        if state.waiters.isEmpty { state.running = false }
        return (ready, gone, state.running)
      }
      for waiter in ready { waiter.done(failure) }
      for waiter in gone { waiter.done(Self.missing(waiter.index)) }
      if failure == nil { log.makeRoom() }
      if !more { return }
    }
  }
}
