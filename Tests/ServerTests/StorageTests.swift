import Foundation
import GRDB
import Synchronization
import Testing

@testable import Server

/// What a writer is told, and what is in the database then.
@Suite(.timeLimit(.minutes(1))) struct StorageTests {
  /// Does something at the commits of one connection.
  private final class AtCommit: TransactionObserver, Sendable {
    private let before: Mutex<DatabaseError?>
    private let after: @Sendable () -> Void

    init(fails error: DatabaseError? = nil, after: @escaping @Sendable () -> Void = {}) {
      before = Mutex(error)
      self.after = after
    }

    func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { false }
    func databaseDidChange(with event: DatabaseEvent) {}
    func databaseDidCommit(_ db: Database) { after() }
    func databaseDidRollback(_ db: Database) {}
    func databaseWillCommit() throws {
      if let error = before.withLock({ $0.take() }) { throw error }
    }
  }

  private struct Bench: Sendable {
    let path: String
    let pool: DatabasePool
    let storage: Storage

    func insert(_ name: String) async throws {
      try await storage.write { try $0.execute(sql: "INSERT INTO t VALUES (?)", arguments: [name]) }
    }

    func names(_ path: String? = nil) throws -> [String] {
      try DatabaseQueue(path: path ?? self.path).read {
        try String.fetchAll($0, sql: "SELECT name FROM t ORDER BY name")
      }
    }
  }

  private func withBench(
    _ limits: Storage.Limits = .init(),
    _ body: (Bench) async throws -> Void
  ) async throws {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = directory + "/t.db"
    let pool = try DatabasePool(path: path)
    try await pool.write { try $0.execute(sql: "CREATE TABLE t (name TEXT UNIQUE)") }
    let file = OpenedFile(path: path, identity: FileAtPath.look(path))
    let storage = Storage(pool: pool, file: file, limits: limits)
    try await body(Bench(path: path, pool: pool, storage: storage))
    try storage.close()
  }

  /// Runs the body while a write holds up all others, until the body lets that one end.
  private func holdingUp<Result: Sendable>(
    _ bench: Bench,
    _ body: @escaping @Sendable (_ letGo: @Sendable () -> Void) async -> Result
  ) async throws -> Result {
    let (begun, told) = AsyncStream<Void>.makeStream()
    let done = DispatchSemaphore(value: 0)
    async let blocker: Void = bench.storage.write { _ in
      told.finish()
      done.wait()
    }
    for await _ in begun {}
    let result = await body { done.signal() }
    try await blocker
    return result
  }

  private func failure(of bench: Bench, _ sql: String) async -> (any Error)? {
    do {
      try await bench.storage.write { try $0.execute(sql: sql) }
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: [
    (ResultCode.SQLITE_BUSY, false), (.SQLITE_IOERR_FSYNC, true), (.SQLITE_IOERR_WRITE, true),
    (.SQLITE_FULL, true), (.SQLITE_READONLY, true),
  ])
  func onlyACommitThatMetALockWasCertainlyNotMade(code: ResultCode, isUnknown: Bool) async throws {
    try await withBench { bench in
      bench.pool.add(
        transactionObserver: AtCommit(fails: DatabaseError(resultCode: code)),
        extent: .databaseLifetime
      )
      do {
        try await bench.insert("a")
        Issue.record("the write was said to be made")
      } catch StorageError.outcomeUnknown(let error as DatabaseError) {
        #expect(isUnknown && error.extendedResultCode == code)
      } catch let error as DatabaseError {
        #expect(!isUnknown && error.extendedResultCode == code)
        #expect(try bench.names() == [])
      }
      try await bench.insert("b")
      #expect(try bench.names() == ["b"])
    }
  }

  @Test func anErrorBeforeTheCommitIsItsOwn() async throws {
    try await withBench { bench in
      let error = await #expect(throws: DatabaseError.self) {
        try await bench.storage.write { database in
          try database.execute(sql: "INSERT INTO t VALUES ('a')")
          throw DatabaseError(resultCode: .SQLITE_IOERR)
        }
      }
      #expect(error?.resultCode == .SQLITE_IOERR)
      let names = try bench.names()
      #expect(names == [])
    }
  }

  @Test func whatSQLiteUndoesOfOtherWritesIsSaidToBeUndone() async throws {
    try await withBench { bench in
      try await bench.insert("taken")
      let errors = try await holdingUp(bench) { letGo in
        // In this order, and so in one transaction.
        await withTaskGroup(of: (String, (any Error)?).self) { group in
          for (number, name) in ["before", "taken", "after"].enumerated() {
            group.addTask {
              while bench.storage.waiting < number { await Task.yield() }
              return (
                name, await failure(of: bench, "INSERT OR ROLLBACK INTO t VALUES ('\(name)')")
              )
            }
          }
          while bench.storage.waiting < 3 { await Task.yield() }
          letGo()
          return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
      }
      #expect((errors["taken"] as? DatabaseError)?.resultCode == .SQLITE_CONSTRAINT)
      for name in ["before", "after"] {
        guard case StorageError.undone? = errors[name] else {
          Issue.record("\(name): \(String(describing: errors[name]))")
          continue
        }
      }
      #expect(try bench.names() == ["taken"])
    }
  }

  @Test func aWriteThatIsNotAnsweredInTimeIsNotMadeOrUnknown() async throws {
    try await withBench(.init(write: .milliseconds(300))) { bench in
      let done = DispatchSemaphore(value: 0)
      let (begun, told) = AsyncStream<Void>.makeStream()
      async let first: Void = bench.storage.write { database in
        told.finish()
        try database.execute(sql: "INSERT INTO t VALUES ('first')")
        done.wait()
      }
      for await _ in begun {}
      do {
        try await bench.insert("second")
        Issue.record("a write was made while another one held it up")
      } catch StorageError.noAnswer {}
      do {
        try await first
        Issue.record("a write was answered that has not ended")
      } catch StorageError.outcomeUnknown {}
      done.signal()
      try await bench.insert("third")
      #expect(try bench.names() == ["first", "third"])
    }
  }

  @Test func nothingIsCommittedToAFileThatIsGone() async throws {
    try await withBench { bench in
      let elsewhere = bench.path + ".moved"
      let error = await #expect(throws: APIError.self) {
        try await bench.storage.write { database in
          try database.execute(sql: "INSERT INTO t VALUES ('a')")
          try FileManager.default.moveItem(atPath: bench.path, toPath: elsewhere)
        }
      }
      #expect(error?.code == "not_ready")
      #expect(bench.storage.loss()?.contains("does not exist any more") == true)
      try FileManager.default.moveItem(atPath: elsewhere, toPath: bench.path)
      #expect(bench.storage.loss() == nil)
      #expect(try bench.names() == [])
    }
  }

  @Test func aCommitToAFileThatGoesMeanwhileIsUnknown() async throws {
    try await withBench { bench in
      let path = bench.path
      bench.pool.add(
        transactionObserver: AtCommit(after: {
          try? FileManager.default.moveItem(atPath: path, toPath: path + ".moved")
        }),
        extent: .databaseLifetime
      )
      do {
        try await bench.insert("a")
        Issue.record("a write to a file that nobody finds was said to be made")
      } catch StorageError.outcomeUnknown {}
    }
  }

  @Test func whoWaitsForHisTurnIsToldThatThereIsNone() async throws {
    try await withBench { bench in
      let error = try await holdingUp(bench) { letGo in
        async let waiting = failure(of: bench, "INSERT INTO t VALUES ('a')")
        while bench.storage.waiting < 1 { await Task.yield() }
        bench.storage.giveUp(APIError.notReady("gone"))
        defer { letGo() }
        return await waiting
      }
      #expect(error as? APIError == .notReady("gone"))
      await #expect(throws: APIError.notReady("gone")) { try await bench.insert("b") }
      #expect(try bench.names() == [])
    }
  }

  @Test(arguments: [false, true])
  func aLockIsWaitedForUnlessTheFileIsGone(isGone: Bool) async throws {
    try await withBench { bench in
      let storage = try StorageOpener(path: bench.path, logger: .quiet).open()
      var configuration = Configuration()
      configuration.allowsUnsafeTransactions = true
      let holder = try DatabaseQueue(path: bench.path, configuration: configuration)
      try await holder.writeWithoutTransaction { try $0.beginTransaction(.immediate) }
      let elsewhere = bench.path + ".moved"
      if isGone { try FileManager.default.moveItem(atPath: bench.path, toPath: elsewhere) }
      let begun = ContinuousClock.now
      let error = await #expect(throws: DatabaseError.self) {
        try await storage.write { try $0.execute(sql: "INSERT INTO t VALUES ('a')") }
      }
      #expect(error?.resultCode == .SQLITE_BUSY)
      let waited = ContinuousClock.now - begun
      let limit = Duration.seconds(Storage.busySeconds)
      #expect(isGone ? waited < limit / 2 : waited > limit * 0.9, "\(waited)")
      try await holder.writeWithoutTransaction { try $0.rollback() }
      if isGone { try FileManager.default.moveItem(atPath: elsewhere, toPath: bench.path) }
      try storage.close()
    }
  }

  @Test func whoReadsADatabaseThatWasGivenUpIsToldWhy() async throws {
    try await withBench { bench in
      bench.storage.giveUp(APIError.notReady("gone"))
      try bench.storage.close()
      await #expect(throws: APIError.notReady("gone")) {
        try await bench.storage.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM t") }
      }
    }
  }

  @Test(arguments: [
    (ResultCode.SQLITE_IOERR_READ, true), (.SQLITE_CANTOPEN, true), (.SQLITE_NOTADB, true),
    (.SQLITE_READONLY_DBMOVED, true), (.SQLITE_READONLY, false), (.SQLITE_READONLY_RECOVERY, false),
    (.SQLITE_BUSY, false), (.SQLITE_FULL, false), (.SQLITE_CONSTRAINT, false),
  ])
  func onlyErrorsOfTheFileRaiseDoubt(code: ResultCode, doubts: Bool) {
    #expect(StorageError.raisesDoubt(DatabaseError(resultCode: code)) == doubts)
  }
}
