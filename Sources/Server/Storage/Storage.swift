import GRDB
import Synchronization

/// The database of a server, from the moment it can be used.
///
/// Reads go on beside each other and beside the writer (WAL). Writes that come while one is under way are made
/// together in the next transaction, each in a savepoint of its own: a commit costs a sync of the disk and,
/// on a replicated file system, a round trip, whatever it holds.
package final class Storage: Sendable {
  /// Writes in one transaction: more gains little and makes the last ones wait.
  static let maximumGroup = 64
  /// Writes that wait at one time; beyond this clients are told to come again.
  static let maximumWaiting = 4096
  /// Connections that read at one time.
  static let readers = 4
  /// How long a lock is waited for, in seconds.
  static let busySeconds: Double = 5

  private let pool: DatabasePool
  private let group = Mutex(Group())

  private struct Group {
    var waiting: [Job] = []
    var isRunning = false
  }

  /// One write: makes it, and tells the caller how it ended once that is certain.
  private struct Job: Sendable {
    /// Returns what is to be called with nil after the commit, or with why there was none.
    let perform: @Sendable (Database) -> @Sendable ((any Error)?) -> Void
    let refuse: @Sendable (any Error) -> Void
  }

  init(pool: DatabasePool) { self.pool = pool }

  func read<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    try await pool.read(body)
  }

  /// Makes changes that are all there or not at all. An error of `body` undoes its own changes alone.
  func write<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      let job = Job(
        perform: { database in
          let result = Result { try Self.inSavepoint(database, body) }
          return { failure in
            continuation.resume(with: failure.map { .failure($0) } ?? result)
          }
        },
        refuse: { continuation.resume(throwing: $0) }
      )
      enqueue(job)
    }
  }

  func close() throws { try pool.close() }

  private static func inSavepoint<Value>(
    _ database: Database,
    _ body: (Database) throws -> Value
  ) throws -> Value {
    var value: Value?
    try database.inSavepoint {
      value = try body(database)
      return .commit
    }
    guard let value else { throw DatabaseError(message: "a savepoint ended without a value") }
    return value
  }

  private func enqueue(_ job: Job) {
    enum Next { case refuse, run, nothing }
    let next = group.withLock { group -> Next in
      guard group.waiting.count < Self.maximumWaiting else { return .refuse }
      group.waiting.append(job)
      guard !group.isRunning else { return .nothing }
      group.isRunning = true
      return .run
    }
    switch next {
    case .refuse: job.refuse(StorageError.tooManyWrites)
    case .run: pool.asyncWriteWithoutTransaction { self.runGroups($0) }
    case .nothing: break
    }
  }

  /// On the writer's own thread.
  private func runGroups(_ database: Database) {
    while true {
      let jobs = group.withLock { group -> [Job] in
        let jobs = Array(group.waiting.prefix(Self.maximumGroup))
        group.waiting.removeFirst(jobs.count)
        if jobs.isEmpty { group.isRunning = false }
        return jobs
      }
      if jobs.isEmpty { return }
      run(jobs, database)
    }
  }

  private func run(_ jobs: [Job], _ database: Database) {
    var finished: [@Sendable ((any Error)?) -> Void] = []
    do {
      // Immediate: a transaction that reads first and writes later can be refused in the midst of it.
      try database.inTransaction(.immediate) {
        for job in jobs { finished.append(job.perform(database)) }
        return .commit
      }
      for finish in finished { finish(nil) }
    } catch {
      for finish in finished { finish(error) }
      for job in jobs.dropFirst(finished.count) { job.refuse(error) }
    }
  }
}

package enum StorageError: Error {
  case tooManyWrites
}
