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

  /// How often it is made sure that the file that is open is the one at its path.
  static let lookInterval = Duration.milliseconds(500)
  /// A file system that does not say for so long what is at a path is taken for lost.
  static let lookLimit = Duration.seconds(5)
  /// How long a database is given to be closed before it is left to itself. On a file system that works nothing in it takes as
  /// long; on one that is gone SQLite can try to read for ten seconds.
  static let closeLimit = Duration.seconds(2)

  private let state = Mutex(State.waiting("the database has not been opened yet", [:]))
  private let lastWaiter = Atomic<UInt64>(0)
  private let opener: StorageOpener
  private let metrics: ServerMetrics
  private let logger: Logger
  private let onLoss: @Sendable () -> Void
  /// Rung when an error may mean that the database is lost.
  private let doubts = Bell()
  private let isInDoubt = Atomic(false)

  init(
    _ opener: StorageOpener,
    metrics: ServerMetrics,
    logger: Logger,
    onLoss: @escaping @Sendable () -> Void
  ) {
    self.opener = opener
    self.metrics = metrics
    self.logger = logger
    self.onLoss = onLoss
  }

  func read<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    try await use { try await $0.read(body) }
  }

  /// As `Storage.write`; a server without a database makes none either.
  func write<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    try await use { try await $0.write(body) }
  }

  /// Notes an error after which the database may be lost.
  private func use<Value: Sendable>(
    _ body: (Storage) async throws -> Value
  ) async throws -> Value {
    do {
      return try await body(storage())
    } catch {
      if StorageError.raisesDoubt(error) {
        isInDoubt.store(true, ordering: .relaxed)
        doubts.ring()
      }
      throw error
    }
  }

  /// - Throws: `APIError.notReady` until the database is open.
  private func storage() throws -> Storage {
    try state.withLock { state in
      switch state {
      case .open(let storage): return storage
      case .waiting(let reason, _): throw APIError.notReady(reason)
      case .ended: throw APIError.notReady("the server is stopping")
      }
    }
  }

  /// Waits for it, or until the task is cancelled.
  @discardableResult
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

  /// Opens it, and anew whenever it was lost; closes it when all who use it have ended.
  func run() async throws {
    var makesTables = true
    while let storage = await open(makesTables: makesTables) {
      makesTables = false
      publish(storage)
      guard let loss = await cancelWhenGracefulShutdown({ await self.watch(storage) }) else {
        _ = end()
        await close(storage)
        return
      }
      await lose(storage, loss)
    }
    for waiter in end() { waiter.resume(throwing: CancellationError()) }
  }

  /// - Returns: nil when the server stops before it could be opened.
  private func open(makesTables: Bool) async -> Storage? {
    try? await cancelWhenGracefulShutdown { [self] in
      try await opener.openWhenPossible(makesTables: makesTables) { reason in
        state.withLock { state in
          if case .waiting(_, let waiting) = state { state = .waiting(reason, waiting) }
        }
      }
    }
  }

  private func publish(_ storage: Storage) {
    let waiting = state.withLock { state -> [CheckedContinuation<Storage, any Error>] in
      defer { state = .open(storage) }
      if case .waiting(_, let waiting) = state { return Array(waiting.values) }
      return []
    }
    metrics.set(MetricNames.databaseReady, to: 1)
    for waiter in waiting { waiter.resume(returning: storage) }
  }

  /// Returns why the database is lost once it is; nil when the task is cancelled before.
  private func watch(_ storage: Storage) async -> String? {
    while !Task.isCancelled {
      await doubts.wait(atMost: Self.lookInterval)
      let isInDoubt = isInDoubt.exchange(false, ordering: .relaxed)
      if let loss = await loss(of: storage, isInDoubt: isInDoubt) { return loss }
    }
    return nil
  }

  /// A lock that is held, a full disk, a replica that may not write, or a disk that is slow, is no loss: after an error it is
  /// one when the file is another, or cannot be read by what has it open.
  private func loss(of storage: Storage, isInDoubt: Bool) async -> String? {
    let seen = await within(Self.lookLimit) { () -> String?? in
      .some(try? await inBackground { storage.loss() })
    }
    if Task.isCancelled { return nil }
    guard let seen else { return "the file system under the database does not answer" }
    if let loss = seen { return loss }
    guard isInDoubt else { return nil }
    do {
      _ = try await storage.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM sqlite_schema") }
      return nil
    } catch StorageError.noAnswer {
      return nil
    } catch {
      return !Task.isCancelled && StorageError.raisesDoubt(error)
        ? "the database cannot be read any more (\(error))" : nil
    }
  }

  private func lose(_ storage: Storage, _ loss: String) async {
    logger.error("The database is lost and will be opened anew", metadata: ["reason": "\(loss)"])
    metrics.set(MetricNames.databaseReady, to: 0)
    metrics.add(MetricNames.databaseLosses)
    state.withLock { $0 = .waiting(loss, [:]) }
    storage.giveUp(APIError.notReady(loss))
    onLoss()
    await close(storage)
  }

  /// On a file system that hangs this never ends, and on none may it hold up a thread that others need.
  private func close(_ storage: Storage) async {
    let isClosed: Bool? = await within(Self.closeLimit) {
      do {
        try await inBackground { try storage.close() }
      } catch {
        self.logger.warning("The database did not close well", metadata: ["error": "\(error)"])
      }
      return true
    }
    if isClosed == nil { logger.warning("The database does not close and is left to itself") }
  }

  private func end() -> [CheckedContinuation<Storage, any Error>] {
    state.withLock { state in
      defer { state = .ended }
      if case .waiting(_, let waiting) = state { return Array(waiting.values) }
      return []
    }
  }
}
