import Synchronization

/// Wakes the one who waits for it, or the next who does.
///
/// An `AsyncStream` would not do: it ends for good when a wait for it is cancelled, as it is after each pause.
final class Bell: Sendable {
  private struct State {
    var isRung = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  func ring() {
    let waiter = state.withLock { state in
      state.isRung = state.waiter == nil
      return state.waiter.take()
    }
    waiter?.resume()
  }

  /// Returns once it has been rung since the last time, or after a pause. Only one may wait.
  func wait(atMost pause: Duration) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.rung() }
      group.addTask { try? await Task.sleep(for: pause) }
      await group.next()
      group.cancelAll()
    }
  }

  private func rung() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.isRung || Task.isCancelled {
            state.isRung = false
            return true
          }
          state.waiter = continuation
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiter.take() }?.resume()
    }
  }
}
