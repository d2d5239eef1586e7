import NIOPosix
import Synchronization

/// Runs blocking calls on a thread pool, one after the other in the order in which they came.
///
/// Calls into the store may wait for the disk: on an event loop they would hold up every other connection,
/// in a task they would hold up the concurrency pool. A connection has at most a few calls waiting,
/// as its state machine asks for one thing of a kind at a time.
final class BlockingQueue: Sendable {
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    var isRunning = false
  }
  private let state = Mutex(State())
  private let pool: NIOThreadPool

  init(_ pool: NIOThreadPool) { self.pool = pool }

  /// Forgotten when the pool has been shut down.
  func submit(_ job: @escaping @Sendable () -> Void) {
    let mustStart = state.withLock { state in
      state.jobs.append(job)
      defer { state.isRunning = true }
      return !state.isRunning
    }
    guard mustStart else { return }
    pool.submit { poolState in
      guard case .active = poolState else { return }
      self.drain()
    }
  }

  private func drain() {
    while true {
      let jobs = state.withLock { state in
        defer { state.jobs = [] }
        if state.jobs.isEmpty { state.isRunning = false }
        return state.jobs
      }
      if jobs.isEmpty { return }
      for job in jobs { job() }
    }
  }
}
