import Foundation
import GRDB
import Synchronization
import Testing

@testable import Server

/// Reads that share transactions and threads.
@Suite(.timeLimit(.minutes(1))) struct ReadTests {
  private func withStorage(_ body: @escaping @Sendable (Storage) async throws -> Void) async throws
  {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = directory + "/t.db"
    let pool = try DatabasePool(path: path)
    try await pool.write { try $0.execute(sql: "CREATE TABLE t (n INTEGER)") }
    let storage = Storage(
      pool: pool,
      file: OpenedFile(path: path, identity: FileAtPath.look(path))
    )
    try await body(storage)
    try storage.close()
  }

  private final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func add() { state.withLock { $0 += 1 } }
  }

  /// Runs the body while a read goes on, until the body lets that one end; what it has read then.
  private func whileReading(
    _ storage: Storage,
    _ body: (_ letGo: @escaping @Sendable () -> Void) async throws -> Void
  ) async throws -> Int {
    let (begun, told) = AsyncStream<Void>.makeStream()
    let done = DispatchSemaphore(value: 0)
    async let long = storage.read { database in
      told.finish()
      done.wait()
      return try Self.count(database)
    }
    for await _ in begun {}
    try await body { done.signal() }
    return try await long
  }

  private static func count(_ database: Database) throws -> Int {
    try Int.fetchOne(database, sql: "SELECT count(*) FROM t") ?? 0
  }

  @Test func whatWasCommittedBeforeAReadCameIsSeen() async throws {
    try await withStorage { storage in
      let committed = Counter()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          for _ in 0..<300 {
            try await storage.write { try $0.execute(sql: "INSERT INTO t VALUES (1)") }
            committed.add()
          }
        }
        for _ in 0..<24 {
          group.addTask {
            while committed.value < 300 {
              let before = committed.value
              let seen = try await storage.read(Self.count)
              #expect(seen >= before)
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func aReadThatTakesLongHoldsUpNoOther() async throws {
    try await withStorage { storage in
      let seen = try await whileReading(storage) { letGo in
        // More than there are connections, and more than share a transaction.
        await withThrowingTaskGroup(of: Int.self) { group in
          for _ in 0..<(3 * ReadGroups.maximumGroup) {
            group.addTask { try await storage.read(Self.count) }
          }
          while let result = await group.nextResult() {
            let seen = try? result.get()
            #expect(seen == 0)
          }
        }
        letGo()
      }
      #expect(seen == 0)
    }
  }

  @Test func anErrorOfOneReadIsNobodyElses() async throws {
    try await withStorage { storage in
      await withTaskGroup(of: (Int, Result<Int, any Error>).self) { group in
        for number in 0..<100 {
          group.addTask {
            do {
              let sql = number % 3 == 0 ? "SELECT nothing" : "SELECT \(number)"
              let value = try await storage.read { try Int.fetchOne($0, sql: sql) }
              return (number, .success(value ?? -1))
            } catch {
              return (number, .failure(error))
            }
          }
        }
        for await (number, result) in group {
          switch result {
          case .success(let value): #expect(value == number && number % 3 != 0)
          case .failure(let error): #expect(error is DatabaseError && number % 3 == 0)
          }
        }
      }
    }
  }

  @Test func whoWaitsWhenTheDatabaseIsGivenUpIsToldWhy() async throws {
    try await withStorage { storage in
      let (begun, told) = AsyncStream<Void>.makeStream()
      let done = DispatchSemaphore(value: 0)
      // As many as there are connections.
      async let long: Void = withTaskGroup(of: Void.self) { group in
        for _ in 0..<Storage.readers {
          group.addTask {
            try? await storage.read { _ in
              told.yield()
              done.wait()
            }
          }
        }
      }
      var busy = 0
      for await _ in begun {
        busy += 1
        if busy == Storage.readers { break }
      }
      let late = Task { try await storage.read(Self.count) }
      while storage.waitingReads == 0 { await Task.yield() }
      storage.giveUp(StorageError.undone)
      if case .failure(StorageError.undone) = await late.result {
      } else {
        Issue.record("it was not told")
      }
      for _ in 0..<Storage.readers { done.signal() }
      await long
    }
  }

  /// A busy connection is waited for once, and not by each read that comes alone.
  @Test func loneReadsGoOnBesideALongOne() async throws {
    try await withStorage { storage in
      let seen = try await whileReading(storage) { letGo in
        let times = try await withThrowingTaskGroup(of: [Duration].self) { group in
          group.addTask {
            var times: [Duration] = []
            for _ in 0..<50 {
              let began = ContinuousClock.now
              _ = try await storage.read(Self.count)
              times.append(.now - began)
            }
            return times
          }
          return try await group.next() ?? []
        }
        letGo()
        // Half of them, since the machine has other things to do.
        let median = times.sorted()[25]
        #expect(median < .milliseconds(3), "\(median)")
      }
      #expect(seen == 0)
    }
  }

  @Test func closingWaitsForReadsAndRefusesLaterOnes() async throws {
    try await withStorage { storage in
      let seen = try await whileReading(storage) { letGo in
        async let waiting = storage.read(Self.count)
        while storage.waitingReads == 0 { await Task.yield() }
        async let closed: Void = inBackground { try storage.close() }
        while !storage.isEnding { await Task.yield() }
        await #expect(throws: APIError.self) { try await storage.read(Self.count) }
        letGo()
        let seen = try await waiting
        #expect(seen == 0)
        try await closed
      }
      #expect(seen == 0)
    }
  }

  /// A task that is cancelled before, while and after it begins to wait goes on, and once only.
  @Test func whoIsCancelledWaitsNoLonger() async throws {
    let deadlines = Deadlines()
    for delay in 0..<200 {
      let pending = Pending<Int>(deadlines)
      let task = Task {
        try await pending.value(within: .seconds(30), late: { _ in StorageError.noAnswer }) {
          if delay % 2 == 0 { DispatchQueue.global().async { _ = pending.finish(.success(1)) } }
        }
      }
      for _ in 0..<(delay % 7) { await Task.yield() }
      task.cancel()
      switch await task.result {
      case .success(let value): #expect(value == 1 && delay % 2 == 0)
      case .failure(let error):
        guard case StorageError.noAnswer = error else {
          Issue.record("\(error)")
          continue
        }
      }
      #expect(!pending.begin() || delay % 2 == 0)
    }
  }

  @Test func deadlinesAreKeptInTheirOrderAndOnlyOnce() async throws {
    let deadlines = Deadlines()
    let (times, told) = AsyncStream<Int>.makeStream()
    for number in [5, 1, 4, 2, 3] {
      _ = deadlines.add(after: .milliseconds(40 * number)) { told.yield(number) }
    }
    let removed = deadlines.add(after: .milliseconds(20)) { told.yield(0) }
    deadlines.remove(removed)
    var seen: [Int] = []
    for await number in times {
      seen.append(number)
      if number == 5 { break }
    }
    #expect(seen == [1, 2, 3, 4, 5])
  }
}
