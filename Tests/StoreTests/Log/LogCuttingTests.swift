import LTX
import Synchronization
import Testing

@testable import Store

/// Cutting, emptying and making durable.
struct LogCuttingTests {
  private func filled(_ fixture: LogFixture) throws -> Log {
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill((0..<40).map { $0 * 7 % 90 })
    try log.begin(Term(2))
    try log.fill((0..<40).map { $0 * 11 % 90 })
    try log.syncAndWait(through: log.last.index)
    return log
  }

  private func cut(_ log: Log, after index: LogIndex) throws -> [UInt8] {
    let kept = Mutex<[UInt8]>([])
    try log.cut(after: index) { (batch) throws(StoreError) in
      kept.withLock { $0 += batch.bytes }
    } before: {
      () throws(StoreError) in
    }
    return kept.withLock { $0 }
  }

  @Test(arguments: [400, 100_000] as [Int64])
  func cutAfterEveryEntry(segmentBytes: Int64) throws {
    for index in [0, 1, 2, 7, 20, 40, 41, 42, 43, 63, 64, 65, 66, 81, 82] {
      let fixture = try LogFixture(segmentBytes: segmentBytes)
      let log = try filled(fixture)
      let entries = try log.all()
      let tail =
        index < 82
        ? try log.readAll(from: LogIndex(UInt64(index) + 1)) : []
      #expect(try cut(log, after: LogIndex(UInt64(index))) == tail)
      for log in [log, try fixture.open()] {
        #expect(log.last == (index == 0 ? .zero : entries[index - 1].id), "after \(index)")
        #expect(try log.all().map(\.id) == entries.prefix(index).map(\.id))
        #expect(log.summary().terms.count == (index == 0 ? 0 : index < 42 ? 1 : 2))
        #expect(log.durable == log.last.index)
      }
      try log.begin(Term(3))
      try log.fill([5, 6, 7])
      for log in [log, try fixture.open()] {
        #expect(log.last == EntryID(term: Term(3), index: LogIndex(UInt64(index) + 4)))
        #expect(try log.all().count == index + 4)
        for number in 1...UInt64(index + 4) {
          #expect(try log.entry(at: LogIndex(number)).id.index.rawValue == number)
        }
      }
    }
  }

  /// Its log was cut between its look at the end and its wait.
  @Test(.timeLimit(.minutes(1))) func whoWaitsForWhatIsCutIsTold() async throws {
    let log = try filled(try LogFixture(segmentBytes: 100_000))
    let last = log.last.index
    _ = try cut(log, after: LogIndex(50))
    let (answers, told) = AsyncStream<StoreError?>.makeStream()
    log.syncer.wait(for: last, log: log, last: last) { told.yield($0) }
    for await answer in answers {
      #expect(answer?.code == .notFound, "\(String(describing: answer))")
      break
    }
    // And nobody else is held up.
    try log.begin(Term(3))
    try log.syncAndWait(through: log.last.index)
  }

  /// A crash at any moment of a cut leaves a log without a gap.
  @Test func cutOnAFailingDisk() throws {
    var done = false
    for step in 1...200 where !done {
      let disk = FaultyDisk()
      let fixture = try LogFixture(segmentBytes: 400, disk: disk)
      let log = try filled(fixture)
      let entries = try log.all()
      disk.fail(at: step, sticky: true)
      let failed = (try? cut(log, after: LogIndex(11))) == nil
      done = disk.failures.isEmpty
      #expect(failed == !done)
      disk.heal()
      let reopened = try fixture.open()
      #expect(reopened.last.index >= LogIndex(11))
      #expect(
        try reopened.all().map(\.id) == entries.prefix(Int(reopened.last.index.rawValue)).map(\.id)
      )
      #expect(try log.all().map(\.id) == entries.prefix(Int(log.last.index.rawValue)).map(\.id))
    }
    #expect(done)
  }

  @Test func resetKeepsTheBase() throws {
    let fixture = try LogFixture(segmentBytes: 500)
    let log = try filled(fixture)
    let base = EntryID(term: Term(9), index: LogIndex(5000))
    try log.reset(to: base)
    for log in [log, try fixture.open()] {
      #expect(log.last == base)
      #expect(log.durable == base.index)
      #expect(log.term(at: base.index) == Term(9))
      #expect(
        log.summary()
          == LogSummary(
            first: LogIndex(5001),
            last: base,
            terms: [TermStart(term: Term(9), first: base.index)]
          )
      )
      #expect(try log.all().isEmpty)
    }
    try log.fill([1, 2, 3])
    let reopened = try fixture.open()
    #expect(reopened.last == EntryID(term: Term(9), index: LogIndex(5003)))
    #expect(try reopened.all().allSatisfy { $0.isIntact })
    #expect(try fixture.segments().count == 1)
  }

  /// Cutting back to the very base must not forget it.
  @Test func cutToTheBase() throws {
    let fixture = try LogFixture(segmentBytes: 500)
    let log = try fixture.open()
    let base = EntryID(term: Term(9), index: LogIndex(5000))
    try log.reset(to: base)
    try log.fill(Array(repeating: 50, count: 30))
    _ = try cut(log, after: base.index)
    for log in [log, try fixture.open()] {
      #expect(log.last == base)
      #expect(log.summary().first == LogIndex(5001))
    }
    try log.fill([3])
    #expect(try fixture.open().last.index == LogIndex(5001))
    #expect(try log.entry(at: LogIndex(5001)).isIntact)
    #expect(try fixture.open().entry(at: LogIndex(5001)).isIntact)
  }

  // MARK: Durability

  @Test(.timeLimit(.minutes(15))) func syncAnswersEveryone() throws {
    let fixture = try LogFixture(segmentBytes: 2000, disk: SystemDisk())
    let log = try fixture.open()
    try log.begin(Term(1))
    let answered = Atomic(0)
    for _ in 0..<200 {
      let index = try log.append(.transaction, database: "a", bytes: [1])
      log.sync(through: index) { error in
        if error == nil { answered.add(1, ordering: .relaxed) }
      }
    }
    try log.syncAndWait(through: log.last.index)
    #expect(log.durable == log.last.index)
    #expect(eventually { answered.load(ordering: .relaxed) == 200 })
  }

  /// After a failed fsync nobody can know what has reached the disk: that is never taken back.
  @Test(.timeLimit(.minutes(15))) func failedSyncIsFinal() throws {
    let disk = FaultyDisk()
    let fixture = try LogFixture(disk: disk)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.syncAndWait(through: log.last.index)
    let durable = log.durable
    try log.fill([10])
    disk.fail([.sync], at: 1)
    #expect(throws: StoreError.self) { try log.syncAndWait(through: log.last.index) }
    disk.heal()
    #expect(throws: StoreError.self) { try log.syncAndWait(through: log.last.index) }
    #expect(log.durable == durable)
    #expect(throws: StoreError.self) { try log.fill([10]) }
    let reopened = try fixture.open()
    #expect(try reopened.all().count == 2)
  }

  /// Who waits for an entry that is cut gets an answer, and the cut index is durable only when
  /// what then stands there is.
  @Test(.timeLimit(.minutes(15))) func waitForWhatIsCut() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([1, 2, 3, 4])
    try log.syncAndWait(through: log.last.index)
    _ = try cut(log, after: LogIndex(2))
    #expect(log.durable == LogIndex(2))
    #expect(throws: StoreError.self) { try log.syncAndWait(through: LogIndex(5)) }
    try log.reset(to: EntryID(term: Term(1), index: LogIndex(1)))
    #expect(throws: StoreError.self) { try log.syncAndWait(through: LogIndex(5)) }
    try log.fill([1])
    try log.syncAndWait(through: LogIndex(2))
    #expect(log.durable == LogIndex(2))
  }
}

extension Log {
  func readAll(from first: LogIndex) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var next = first
    while next <= last.index {
      let batch = try read(from: next, maxBytes: 1000)
      bytes += batch.bytes
      next = batch.last.next
    }
    return bytes
  }
}
