/// A few threads for requests that wait for the disk, so that the one that reads requests never
/// does.
///
/// The queue needs no bound of its own: each request in it has a thread of some application
/// waiting for the answer, and the kernel bounds those it sends ahead (`max_background`).
final class WorkerPool: Sendable {
  private struct State: Sendable {
    var queue: [@Sendable () -> Void] = []
    var stopped = false
  }

  private let state = Condition(State())

  init(threads: Int) throws(FuseError) {
    for _ in 0..<max(threads, 1) {
      try NativeThread.start("halite-fuse-io") { [state] in
        while let work = Self.next(state) { work() }
      }
    }
  }

  func submit(_ work: @escaping @Sendable () -> Void) {
    state.update { $0.queue.append(work) }
  }

  /// Ends the threads once the queue is empty.
  func stop() {
    state.update { $0.stopped = true }
  }

  private static func next(_ state: Condition<State>) -> (@Sendable () -> Void)? {
    let next: (@Sendable () -> Void)?? = state.wait { state in
      if !state.queue.isEmpty { return .some(.some(state.queue.removeFirst())) }
      return state.stopped ? .some(.none) : nil
    }
    return next ?? nil
  }
}
