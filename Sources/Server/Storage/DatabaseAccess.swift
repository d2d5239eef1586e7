import GRDB
import Logging
import ServiceLifecycle
import Synchronization

/// The database as soon as it is there, and until then why it is not.
final class DatabaseAccess: Service, Sendable {
  private enum State {
    case waiting(String, [UInt64: CheckedContinuation<Storage, any Error>])
    case open(Storage)
    case ended
  }

  private let state = Mutex(State.waiting("the database has not been opened yet", [:]))
  private let lastWaiter = Atomic<UInt64>(0)
  private let opener: StorageOpener
  private let metrics: ServerMetrics

  init(_ opener: StorageOpener, metrics: ServerMetrics) {
    self.opener = opener
    self.metrics = metrics
  }

  /// - Throws: `APIError.notReady` until the database is open.
  func storage() throws -> Storage {
    try state.withLock { state in
      switch state {
      case .open(let storage): return storage
      case .waiting(let reason, _): throw APIError.notReady(reason)
      case .ended: throw APIError.notReady("the server is stopping")
      }
    }
  }

  /// Waits for it, or until the task is cancelled.
  func opened() async throws -> Storage {
    let id = lastWaiter.wrappingAdd(1, ordering: .relaxed).newValue
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let now: Result<Storage, any Error>? = state.withLock { state in
          switch state {
          case .open(let storage): return .success(storage)
          case .ended: return .failure(CancellationError())
          case .waiting(let reason, var waiting):
            // The handler below has run already, or will find the waiter.
            if Task.isCancelled { return .failure(CancellationError()) }
            waiting[id] = continuation
            state = .waiting(reason, waiting)
            return nil
          }
        }
        if let now { continuation.resume(with: now) }
      }
    } onCancel: {
      let waiter = state.withLock { state -> CheckedContinuation<Storage, any Error>? in
        guard case .waiting(let reason, var waiting) = state else { return nil }
        let waiter = waiting.removeValue(forKey: id)
        state = .waiting(reason, waiting)
        return waiter
      }
      waiter?.resume(throwing: CancellationError())
    }
  }

  /// Opens it, and closes it when all who use it have ended.
  func run() async throws {
    let storage = try? await cancelWhenGracefulShutdown { [self] in
      try await opener.openWhenPossible { reason in
        state.withLock { state in
          if case .waiting(_, let waiting) = state { state = .waiting(reason, waiting) }
        }
      }
    }
    guard let storage else {
      for waiter in end() { waiter.resume(throwing: CancellationError()) }
      return
    }
    let waiting = state.withLock { state -> [CheckedContinuation<Storage, any Error>] in
      defer { state = .open(storage) }
      if case .waiting(_, let waiting) = state { return Array(waiting.values) }
      return []
    }
    metrics.set(MetricNames.databaseReady, to: 1)
    for waiter in waiting { waiter.resume(returning: storage) }
    try? await gracefulShutdown()
    _ = end()
    try storage.close()
  }

  private func end() -> [CheckedContinuation<Storage, any Error>] {
    state.withLock { state in
      defer { state = .ended }
      if case .waiting(_, let waiting) = state { return Array(waiting.values) }
      return []
    }
  }
}
