import GRDB
import GRDBSQLite
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

  /// How long an answer of the database is waited for. Each is far above what a working file system needs, with
  /// the wait for a lock, and only a file system that hangs takes as long.
  struct Limits: Sendable {
    var read = Duration.seconds(10)
    var write = Duration.seconds(30)
  }

  private let pool: DatabasePool
  private let file: OpenedFile
  private let limits: Limits
  private let reads: ReadGroups
  private let deadlines = Deadlines()
  private let group = Mutex(Group())

  private struct Group {
    var waiting: [Job] = []
    var isRunning = false
    /// Why no more writes are taken.
    var refusal: (any Error)?
  }

  /// How a transaction ended.
  private enum Outcome: Sendable {
    case made
    case notMade(any Error)
    case unknown(any Error)
  }

  /// One write: makes it, and tells the caller how it ended once that is certain.
  private struct Job: Sendable {
    /// Returns what is to be told the end of the transaction; nil when nobody waits for the write any more, which then
    /// is not made.
    let perform: @Sendable (Database) -> (@Sendable (Outcome) -> Void)?
    let refuse: @Sendable (any Error) -> Void
  }

  init(pool: DatabasePool, file: OpenedFile, limits: Limits = Limits()) {
    self.pool = pool
    reads = ReadGroups(pool, connections: Self.readers)
    self.file = file
    self.limits = limits
  }

  /// Why the file that is open is not the one at its path any more; nil while it is. May block.
  func loss() -> String? { file.loss() }

  func read<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    let pending = Pending<Value>(deadlines)
    let job = ReadGroups.Job { database in
      guard pending.begin() else { return }
      pending.finish(Result { try body(database.get()) })
    }
    do {
      return try await pending.value(within: limits.read, late: { _ in StorageError.noAnswer }) {
        reads.add(job)
      }
    } catch let error as DatabaseError {
      // Whatever SQLite says of a database that is being closed, or is: that it was lost says more.
      throw group.withLock { $0.refusal } ?? error
    }
  }

  /// Makes changes that are all there or not at all. An error of `body` undoes its own changes alone.
  /// - Throws: `StorageError.outcomeUnknown` when nobody can say which of the two it is; with every other error the changes
  ///   are certainly not there.
  func write<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws -> Value {
    let pending = Pending<Value>(deadlines)
    let job = Job(
      perform: { database in
        guard pending.begin() else { return nil }
        let result = Result { try Self.inSavepoint(database, body) }
        return { pending.finish(Self.answer(result, $0)) }
      },
      refuse: { pending.finish(.failure($0)) }
    )
    return try await pending.value(
      within: limits.write,
      late: { $0 ? StorageError.outcomeUnknown(StorageError.noAnswer) : StorageError.noAnswer }
    ) {
      enqueue(job)
    }
  }

  /// Writes whose turn has not come.
  var waiting: Int { group.withLock { $0.waiting.count } }

  /// Reads whose turn has not come.
  var waitingReads: Int { reads.waiting }

  /// Whether it is closed, is being closed or was given up.
  var isEnding: Bool { reads.isEnding }

  /// Lets nobody write any more: who waits for his turn is told why, and so is whoever cannot read any more. What is being
  /// written ends as it may.
  func giveUp(_ reason: any Error) {
    let waiting = group.withLock { group in
      group.refusal = reason
      defer { group.waiting = [] }
      return group.waiting
    }
    for job in waiting { job.refuse(reason) }
    reads.giveUp(reason)
  }

  /// Bytes of the database without its log.
  func size() async throws -> Int64 {
    try await read { database in
      let (pages, bytes) = (
        try Int64.fetchOne(database, sql: "PRAGMA page_count"),
        try Int64.fetchOne(database, sql: "PRAGMA page_size")
      )
      return (pages ?? 0) * (bytes ?? 0)
    }
  }

  /// Writes the whole database anew without what is free in it. Takes as long as that takes: no limit holds.
  func compact(analyzes: Bool) async throws {
    try await pool.writeWithoutTransaction { database in
      try database.execute(sql: "VACUUM")
      if analyzes { try database.execute(sql: "ANALYZE") }
      // The file shrinks only now, and a reader may put that off: then with the next checkpoint.
      _ = try? database.checkpoint(.truncate)
    }
  }

  /// Closes it when all who use it have ended, which on a file system that hangs is never.
  func close() throws {
    let reason = APIError.notReady("the server is stopping")
    group.withLock { $0.refusal = $0.refusal ?? reason }
    reads.end(reason)
    if loss() != nil { letGo() }
    try pool.close()
  }

  /// Sees to it that closing a file that lies elsewhere now, or nowhere, touches nothing at its path: SQLite removes the
  /// write-ahead log by name, and tells files apart by the inode alone, which is the same on two mounts. What the log holds
  /// goes into the file that it belongs to, since a log that is left beside another database would be played into that.
  private func letGo() {
    try? pool.writeWithoutTransaction { database in
      var keeps: CInt = 1
      // Nobody lets go of a lock on a dead mount.
      sqlite3_busy_timeout(database.sqliteConnection, 0)
      sqlite3_file_control(database.sqliteConnection, "main", SQLITE_FCNTL_PERSIST_WAL, &keeps)
      try database.checkpoint(.truncate)
    }
  }

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

  private static func answer<Value>(
    _ result: Result<Value, any Error>,
    _ outcome: Outcome
  ) -> Result<Value, any Error> {
    switch outcome {
    case .made: return result
    case .notMade(let error):
      if case .failure(let own as DatabaseError) = result { return .failure(own) }
      return .failure(error)
    case .unknown(let error):
      // What was refused is not there in any case. The reason may have been another write of the same transaction.
      if case .failure = result { return .failure(error) }
      return .failure(StorageError.outcomeUnknown(error))
    }
  }

  private func enqueue(_ job: Job) {
    enum Next { case refuse(any Error), run, nothing }
    let next = group.withLock { group -> Next in
      if let refusal = group.refusal { return .refuse(refusal) }
      guard group.waiting.count < Self.maximumWaiting else {
        return .refuse(StorageError.tooManyWrites)
      }
      group.waiting.append(job)
      guard !group.isRunning else { return .nothing }
      group.isRunning = true
      return .run
    }
    switch next {
    case .refuse(let error): job.refuse(error)
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
    var performed = 0
    var finishes: [@Sendable (Outcome) -> Void] = []
    do {
      // Immediate: a transaction that reads first and writes later can be refused in the midst of it.
      try database.beginTransaction(.immediate)
      for job in jobs {
        let finish = job.perform(database)
        performed += 1
        if let finish { finishes.append(finish) }
        // SQLite undoes all of it by itself after some errors, and what came next would be a transaction of its own.
        guard database.isInsideTransaction else { throw StorageError.undone }
      }
      if let loss = loss() { throw APIError.notReady(loss) }
    } catch {
      try? database.rollback()
      for finish in finishes { finish(.notMade(error)) }
      for job in jobs.dropFirst(performed) { job.refuse(error) }
      return
    }
    let outcome = commit(database)
    for finish in finishes { finish(outcome) }
  }

  private func commit(_ database: Database) -> Outcome {
    do {
      try database.commit()
      // It can be in a file that nobody will see again.
      return loss().map { .unknown(APIError.notReady($0)) } ?? .made
    } catch {
      try? database.rollback()
      // A COMMIT that met a lock has written nothing. After any other error the transaction may be found in the log when
      // the database is opened the next time, or be on other nodes.
      let isBusy = (error as? DatabaseError)?.resultCode == .SQLITE_BUSY
      return isBusy ? .notMade(error) : .unknown(error)
    }
  }
}

package enum StorageError: Error, CustomStringConvertible {
  case tooManyReads, tooManyWrites
  /// The file system hangs, or the caller gave up.
  case noAnswer
  /// Another write of the same transaction met an error after which SQLite undid them all.
  case undone
  /// Changes of which nobody can say whether they were made, and what happened.
  case outcomeUnknown(any Error)

  package var description: String {
    switch self {
    case .tooManyReads: "too many reads are waiting"
    case .tooManyWrites: "too many writes are waiting"
    case .noAnswer: "the database does not answer"
    case .undone: "another change was undone, and this one with it"
    case .outcomeUnknown(let error): "the change may or may not have been made: \(error)"
    }
  }

  /// Whether what is open may not be what is at the path any more.
  static func raisesDoubt(_ error: any Error) -> Bool {
    switch error {
    case StorageError.outcomeUnknown, StorageError.noAnswer, StorageError.undone: true
    case let error as DatabaseError:
      error.extendedResultCode == .SQLITE_READONLY_DBMOVED
        || [.SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_NOTADB].contains(error.resultCode)
    default: false
    }
  }
}
