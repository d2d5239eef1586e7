import NIOCore
import NIOPosix
import Synchronization

/// One thing that is waited for and that somebody else does on a thread of his own: it ends when that is done, when
/// the time is over, or when the waiting task is cancelled, whatever comes first. Nothing that hangs in a file
/// system holds up who waits for it.
final class Pending<Value: Sendable>: Sendable {
  private struct Waiter {
    let continuation: CheckedContinuation<Value, any Error>
    /// Where the task waits that is to go on; it would have to come back there.
    let loop: (any EventLoop)?

    func resume(_ result: Result<Value, any Error>) {
      guard let loop else { return continuation.resume(with: result) }
      loop.execute { continuation.resume(with: result) }
    }
  }

  private struct State {
    var waiter: Waiter?
    var hasBegun = false
    var isOver = false
  }

  private let state = Mutex(State())
  private let deadlines: Deadlines

  init(_ deadlines: Deadlines) { self.deadlines = deadlines }

  /// For whoever does it, right before.
  /// - Returns: false when nobody waits any more and it must not be done.
  func begin() -> Bool {
    state.withLock { state in
      state.hasBegun = true
      return !state.isOver
    }
  }

  /// - Returns: whether somebody has waited for this.
  @discardableResult
  func finish(_ result: Result<Value, any Error>) -> Bool {
    let waiter = state.withLock { state in
      state.isOver = true
      return state.waiter.take()
    }
    waiter?.resume(result)
    return waiter != nil
  }

  /// Starts it and waits.
  /// - Parameters:
  ///   - late: what is thrown when it does not end in time; told whether it had begun.
  ///   - start: makes somebody do it, without waiting.
  func value(
    within limit: Duration,
    late: @escaping @Sendable (_ hasBegun: Bool) -> any Error,
    start: () -> Void
  ) async throws -> Value {
    let deadline = deadlines.add(after: limit) { self.giveUp(late) }
    defer { deadlines.remove(deadline) }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let loop = MultiThreadedEventLoopGroup.currentEventLoop
        let isOver = state.withLock { state in
          if !state.isOver { state.waiter = Waiter(continuation: continuation, loop: loop) }
          return state.isOver
        }
        if isOver { continuation.resume(throwing: late(false)) } else { start() }
      }
    } onCancel: {
      giveUp(late)
    }
  }

  private func giveUp(_ late: @Sendable (Bool) -> any Error) {
    // At once, so that what is said not to have begun never begins.
    let (waiter, hasBegun) = state.withLock { state in
      state.isOver = true
      return (state.waiter.take(), state.hasBegun)
    }
    waiter?.resume(.failure(late(hasBegun)))
  }
}
