import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Appending, rotation, reading and opening anew.
struct LogTests {
  @Test func emptyLog() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    #expect(log.last == .zero)
    #expect(log.summary() == LogSummary(first: LogIndex(1), last: .zero, terms: []))
    #expect(try log.all().isEmpty)
    let batch = try #require(log.recent(from: LogIndex(1), maxBytes: 100))
    #expect(batch.bytes.isEmpty && batch.last < batch.first)
    #expect(throws: StoreError.self) { try log.entry(at: LogIndex(1)) }
    #expect(throws: StoreError.self) { try log.entry(at: LogIndex(0)) }
  }

  @Test func entriesSurviveReopening() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(3))
    try log.fill([0, 1, 100, 5000, 200_000])
    _ = try log.append(.rename, database: "häß/b.db", bytes: Array("c.db".utf8))
    _ = try log.append(.drop, database: "c.db", bytes: [])
    try log.begin(Term(7))
    try log.fill([9])
    for log in [log, try fixture.open()] {
      #expect(log.last == EntryID(term: Term(7), index: LogIndex(10)))
      #expect(
        log.summary().terms == [
          TermStart(term: Term(3), first: LogIndex(1)),
          TermStart(term: Term(7), first: LogIndex(9)),
        ]
      )
      let entries = try log.all()
      #expect(entries.map(\.id.index.rawValue) == Array(1...10))
      #expect(
        entries.map(\.kind) == [
          .noOperation, .transaction, .transaction, .transaction, .transaction, .transaction,
          .rename, .drop, .noOperation, .transaction,
        ]
      )
      #expect(entries[6].database == "häß/b.db")
      #expect(Array(entries[6].payload) == Array("c.db".utf8))
      #expect(entries[1...5].allSatisfy { $0.isIntact })
      #expect(log.term(at: LogIndex(8)) == Term(3))
      #expect(log.term(at: LogIndex(9)) == Term(7))
      #expect(log.term(at: LogIndex(11)) == nil)
    }
  }

  @Test(arguments: [200, 1000, 5000] as [Int64])
  func rotation(segmentBytes: Int64) throws {
    var random = SeededRandom(UInt64(segmentBytes))
    let fixture = try LogFixture(segmentBytes: segmentBytes)
    var log = try fixture.open()
    try log.begin(Term(1))
    for round in 0..<8 {
      try log.fill((0..<60).map { _ in random.below(120) })
      let expected = 61 + 60 * UInt64(round)
      #expect(log.last.index.rawValue == expected)
      if round % 2 == 1 { log = try fixture.open() }
      let entries = try log.all()
      #expect(entries.map(\.id.index.rawValue) == Array(1...expected))
      #expect(entries.dropFirst().allSatisfy { $0.isIntact })
      for index in 2...expected {
        let entry = try log.entry(at: LogIndex(index))
        #expect(entry.id.index.rawValue == index && entry.isIntact)
      }
    }
    #expect(try fixture.segments().count > 5)
  }

  @Test func batchesAreWholeEntriesWithinTheLimit() throws {
    var random = SeededRandom(5)
    let fixture = try LogFixture(segmentBytes: 20_000)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill((0..<300).map { _ in random.below(900) })
    let reopened = try fixture.open()
    for _ in 0..<400 {
      let first = LogIndex(UInt64(1 + random.below(301)))
      let limit = [1, 100, 2000, 60_000][random.below(4)]
      for log in [log, reopened] {
        let batch = try log.read(from: first, maxBytes: limit)
        #expect(batch.first == first && batch.last >= first)
        var remaining = batch.bytes[...]
        var index = first
        while let (entry, length) = LogEntry.decode(remaining) {
          #expect(entry.id.index == index)
          index = index.next
          remaining = remaining.dropFirst(length)
        }
        #expect(remaining.isEmpty)
        #expect(index == batch.last.next)
        #expect(batch.bytes.count <= limit || batch.last == first)
      }
    }
  }

  /// More than the memory of recent entries holds: the older ones come from the disk.
  @Test(.timeLimit(.minutes(15))) func evictedEntriesAreReadFromDisk() throws {
    let fixture = try LogFixture(segmentBytes: 4 << 20)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill(Array(repeating: 200_000, count: 60))
    #expect(log.recent(from: LogIndex(2), maxBytes: 1 << 20) == nil)
    let newest = try #require(log.recent(from: LogIndex(60), maxBytes: 1 << 20))
    #expect(newest.last == LogIndex(61))
    let entries = try log.all()
    #expect(entries.count == 61)
    #expect(entries.dropFirst().allSatisfy { $0.isIntact })
    #expect(try log.entry(at: LogIndex(3)).isIntact)
    #expect(try log.read(from: LogIndex(2), maxBytes: 1 << 20).last.rawValue == 6)
  }

  @Test func largestEntry() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    let most = LogFormat.maxEntryBytes - LogFormat.headerBytes - LogFormat.checksumBytes - 4
    try log.fill([10, most, 10, most, most, 5])
    let reopened = try fixture.open()
    #expect(reopened.last == log.last)
    #expect(try reopened.all().dropFirst().allSatisfy { $0.isIntact })
    #expect(try reopened.entry(at: LogIndex(3)).isIntact)
  }

  /// Walking past the end of the log is an error, not an endless walk.
  @Test(.timeLimit(.minutes(15))) func readingBeyondTheEnd() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([1, 2, 3])
    #expect(throws: StoreError.self) {
      try log.forEach(after: LogIndex(1), through: LogIndex(9)) { (_) throws(StoreError) in }
    }
    #expect(throws: StoreError.self) { try log.entry(at: LogIndex(5)) }
    #expect(throws: StoreError.self) { try fixture.open().entry(at: LogIndex(5)) }
  }

  @Test(.timeLimit(.minutes(15))) func manyThreadsAppend() throws {
    let fixture = try LogFixture(segmentBytes: 50_000, disk: SystemDisk())
    let log = try fixture.open()
    try log.begin(Term(1))
    let wakes = Atomic(0)
    let token = log.onAppend { wakes.add(1, ordering: .relaxed) }
    let failures = Atomic(0)
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      for count in 0..<200 {
        let database = "db-\(thread)"
        let bytes = Array("\(thread) \(count)".utf8)
        if (try? log.append(.transaction, database: database, bytes: bytes)) == nil {
          failures.add(1, ordering: .relaxed)
        }
      }
    }
    withExtendedLifetime(token) {}
    #expect(failures.load(ordering: .relaxed) == 0)
    #expect(wakes.load(ordering: .relaxed) == 1600)
    for log in [log, try fixture.open()] {
      var seen: [String: Int] = [:]
      for entry in try log.all().dropFirst() {
        let thread = entry.database.dropFirst(3)
        let expected = "\(thread) \(seen[entry.database, default: 0])"
        #expect(String(decoding: entry.payload, as: UTF8.self) == expected)
        seen[entry.database, default: 0] += 1
      }
      #expect(seen.count == 8 && seen.values.allSatisfy { $0 == 200 })
    }
  }

  @Test func subscriptionEndsWithItsToken() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    let wakes = Atomic(0)
    var token: SubscriptionToken? = log.onAppend { wakes.add(1, ordering: .relaxed) }
    try log.begin(Term(1))
    withExtendedLifetime(token) {}
    token = nil
    try log.fill([1])
    #expect(wakes.load(ordering: .relaxed) == 1)
  }

  @Test func trimRemovesWholeSegments() throws {
    let fixture = try LogFixture(segmentBytes: 1000)
    let log = try fixture.open()
    try log.begin(Term(2))
    try log.fill(Array(repeating: 100, count: 100))
    let before = try fixture.segments().count
    try log.trim(before: LogIndex(60))
    #expect(try fixture.segments().count < before)
    for log in [log, try fixture.open()] {
      let first = log.summary().first
      #expect(first <= LogIndex(60) && first > LogIndex(45))
      #expect(log.last.index == LogIndex(101))
      #expect(try log.all().allSatisfy { $0.isIntact })
      #expect(log.summary().terms == [TermStart(term: Term(2), first: LogIndex(1))])
    }
    let reopened = try fixture.open()
    #expect {
      try reopened.read(from: LogIndex(2), maxBytes: 10)
    } throws: { ($0 as? StoreError)?.code == .notFound }
    try log.trim(before: LogIndex(1000))
    #expect(try fixture.segments().count == 1)
    try log.fill([50])
    #expect(try fixture.open().last.index == LogIndex(102))
  }

  /// Retention by age must not take a restart for the passing of ten minutes.
  @Test func ageOfClosedSegmentsSurvivesReopening() throws {
    let fixture = try LogFixture(segmentBytes: 1000)
    let log = try fixture.open()
    try log.begin(Term(2))
    try log.fill(Array(repeating: 100, count: 100))
    let reopened = try fixture.open()
    #expect(reopened.usage().closed.count > 3)
    #expect(reopened.usage().closed.allSatisfy { $0.milliseconds > 1_600_000_000_000 })
    #expect(reopened.usage().bytes == log.usage().bytes)
  }

  // MARK: Batches of a primary

  @Test func copiesAnotherLogByteForByte() throws {
    let (source, target) = (try LogFixture(segmentBytes: 3000), try LogFixture(segmentBytes: 900))
    let primary = try source.open()
    try primary.begin(Term(1))
    try primary.fill((0..<100).map { $0 * 3 })
    try primary.begin(Term(4))
    try primary.fill([1, 2, 3])
    var replica = try target.open()
    var round = 0
    while replica.last < primary.last {
      try replica.append(try primary.read(from: replica.last.index.next, maxBytes: 1500))
      round += 1
      if round % 5 == 0 { replica = try target.open() }
    }
    #expect(replica.summary() == primary.summary())
    #expect(try replica.readAll(from: LogIndex(1)) == primary.readAll(from: LogIndex(1)))
    #expect(try replica.all().map(\.id) == primary.all().map(\.id))
  }

  @Test func refusesWhatDoesNotFollow() throws {
    let fixtures = try (LogFixture(), LogFixture(), LogFixture())
    let primary = try fixtures.0.open()
    try primary.begin(Term(5))
    try primary.fill([1, 2, 3])
    let all = try primary.read(from: LogIndex(1), maxBytes: 1 << 20)
    let tail = try primary.read(from: LogIndex(3), maxBytes: 1 << 20)
    let replica = try fixtures.1.open()
    #expect { try replica.append(tail) } throws: { ($0 as? StoreError)?.code == .diverged }
    try replica.append(all)
    #expect { try replica.append(all) } throws: { ($0 as? StoreError)?.code == .diverged }
    let older = try fixtures.2.open()
    try older.begin(Term(4))
    try older.fill([1, 1, 1, 1])
    let lower = try older.read(from: LogIndex(5), maxBytes: 1 << 20)
    #expect { try replica.append(lower) } throws: { ($0 as? StoreError)?.code == .diverged }
    #expect(replica.last == primary.last)
  }

  /// A batch that one segment has no room for goes on in the next ones, and is found there.
  @Test func batchOverSegments() throws {
    let source = try LogFixture()
    let primary = try source.open()
    try primary.begin(Term(5))
    try primary.fill(Array(repeating: 90, count: 40))
    let all = try primary.read(from: LogIndex(1), maxBytes: 1 << 20)
    let fixture = try LogFixture(segmentBytes: 500)
    let replica = try fixture.open()
    try replica.append(all)
    #expect(replica.state.withLock { $0.segments.count } > 5)
    for log in [replica, try fixture.open()] {
      #expect(log.last == primary.last)
      for index in 1...primary.last.index.rawValue {
        let (copy, entry) = try (log.entry(at: LogIndex(index)), primary.entry(at: LogIndex(index)))
        #expect(copy.id == entry.id && copy.payload == entry.payload)
      }
    }
  }

  /// A batch is taken as a whole or not at all.
  @Test func damagedBatchChangesNothing() throws {
    let source = try LogFixture()
    let primary = try source.open()
    try primary.begin(Term(5))
    try primary.fill([10, 20, 30])
    let good = try primary.read(from: LogIndex(1), maxBytes: 1 << 20)
    let fixture = try LogFixture()
    let replica = try fixture.open()
    for at in good.bytes.indices {
      var batch = good
      batch.bytes[at] ^= 0x10
      #expect(throws: StoreError.self) { try replica.append(batch) }
      batch.bytes = Array(good.bytes[..<at])
      let isWhole = (try? primary.wholeEntries(batch.bytes)) == true
      if !isWhole { #expect(throws: StoreError.self) { try replica.append(batch) } }
      #expect(replica.last == .zero)
    }
    try replica.append(good)
    #expect(replica.last == primary.last)
    #expect(try fixture.open().last == primary.last)
  }
}

extension Log {
  /// Whether the bytes are entries without a rest.
  func wholeEntries(_ bytes: [UInt8]) throws -> Bool {
    var remaining = bytes[...]
    while let (_, length) = LogEntry.decode(remaining) { remaining = remaining.dropFirst(length) }
    return remaining.isEmpty
  }
}
