import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Entries made smaller on the wire and in full segments: they stay the same entries.
struct LogPackingTests {
  private func batch(_ log: Log) throws -> LogBatch {
    let summary = log.summary()
    var bytes: [UInt8] = []
    var next = summary.first
    while next <= summary.last.index {
      let part = try log.read(from: next, maxBytes: 1 << 20)
      bytes += part.bytes
      next = part.last.next
    }
    return LogBatch(first: summary.first, last: summary.last.index, bytes: bytes)
  }

  private func decoded(_ batch: LogBatch) -> [LogEntry] {
    var entries: [LogEntry] = []
    var rest = batch.bytes[...]
    while let (entry, length) = LogEntry.decode(rest) {
      entries.append(entry)
      rest = rest.dropFirst(length)
    }
    return entries
  }

  /// Every kind of entry, with payloads that pack well, badly and not at all.
  private func filled(_ fixture: LogFixture, _ random: inout SeededRandom) throws -> Log {
    let log = try fixture.open()
    try log.begin(Term(2))
    try log.fill([0, 1, 255, 256, 5000, 70_000])
    let noise = (0..<9000).map { _ in UInt8(random.below(256)) }
    _ = try log.append(.transaction, database: "n.db", bytes: noise)
    _ = try log.append(.stage, database: "s.db", bytes: [UInt8](repeating: 7, count: 300_000))
    _ = try log.append(.rename, database: "n.db", bytes: Array("m.db".utf8))
    _ = try log.append(.drop, database: "m.db", bytes: [])
    return log
  }

  @Test func packedEntriesAreTheSameEntries() throws {
    var random = SeededRandom(11)
    let plain = try batch(try filled(try LogFixture(), &random))
    var packer = LogPacker()
    let packed = packer.pack(plain)
    #expect(packed.first == plain.first && packed.last == plain.last)
    #expect(packed.bytes.count < plain.bytes.count / 10)
    #expect(packer.pack(packed).bytes == packed.bytes)
    let (before, after) = (decoded(plain), decoded(packed))
    #expect(before.count == 11 && after.count == before.count)
    for (one, other) in zip(before, after) {
      #expect(one.id == other.id && one.kind == other.kind && one.database == other.database)
      #expect(one.milliseconds == other.milliseconds)
      #expect(Array(one.payload) == Array(other.payload))
    }
    // Another log takes them, and gives them back.
    let replica = try LogFixture()
    try replica.open().append(packed)
    #expect(try replica.open().all().map { Array($0.payload) } == before.map { Array($0.payload) })
  }

  @Test func damageIsNeitherPackedNorUnpacked() throws {
    var random = SeededRandom(12)
    let plain = try batch(try filled(try LogFixture(), &random))
    var packer = LogPacker()
    let packed = packer.pack(plain)
    for (whole, step) in [(plain, 997), (packed, 13)] {
      let entries = decoded(whole)
      for at in stride(from: 0, to: whole.bytes.count, by: step) {
        var damaged = whole
        damaged.bytes[at] ^= 1 << UInt8(at % 8)
        #expect(decoded(damaged).count < entries.count)
        #expect(packer.pack(damaged).bytes == damaged.bytes)
      }
    }
    // A block that does not give what it promises, in an entry whose checksum is right.
    for promised in [0, 1, 4999, 5001, LogFormat.maxEntryBytes + 1, Int(UInt32.max)] {
      let fixture = try LogFixture()
      let log = try fixture.open()
      try log.fill([5000])
      var entry = packer.pack(try batch(log)).bytes
      let start = LogFormat.headerBytes + 4
      for k in 0..<4 { entry[start + k] = UInt8(truncatingIfNeeded: promised >> (24 - 8 * k)) }
      var crc = CRC64()
      entry.dropLast(8).withUnsafeBytes { crc.update($0) }
      var sealed = Array(entry.dropLast(8))
      sealed.appendBigEndian(crc.value)
      #expect(LogEntry.decode(sealed[...]) == nil)
      #expect(throws: StoreError.self) {
        let batch = LogBatch(first: LogIndex(1), last: LogIndex(1), bytes: sealed)
        let replica = try LogFixture()
        try replica.open().append(batch)
      }
    }
  }

  @Test func fullSegmentsArePacked() throws {
    let fixture = try LogFixture(segmentBytes: 20_000)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill((0..<400).map { 300 + $0 * 7 })
    let before = log.usage()
    let active = try #require(try fixture.segments().last)
    let activeSize = try #require(try fixture.disk.information(fixture.path + "/" + active)).size
    try log.packClosed()
    #expect(log.usage().bytes < before.bytes / 3)
    #expect(log.usage().closed.map(\.last) == before.closed.map(\.last))
    #expect(log.usage().closed.map(\.milliseconds) == before.closed.map(\.milliseconds))
    #expect(
      try #require(try fixture.disk.information(fixture.path + "/" + active)).size == activeSize
    )
    try log.fill([700])
    for log in [log, try fixture.open()] {
      #expect(log.last.index.rawValue == 402)
      #expect(try log.all().dropFirst().allSatisfy { $0.isIntact })
      for index in 2...402 as ClosedRange<UInt64> {
        let entry = try log.entry(at: LogIndex(index))
        #expect(entry.id.index.rawValue == index && entry.isIntact)
      }
    }
    // What has been packed is not packed again, also by a later start.
    let names = try fixture.segments().dropLast()
    let sizes = try names.map { try fixture.disk.information(fixture.path + "/" + $0)?.modified }
    let again = try fixture.open()
    try again.packClosed()
    #expect(
      try names.map { try fixture.disk.information(fixture.path + "/" + $0)?.modified } == sizes
    )
    try again.cut(after: LogIndex(150)) { (_) throws(StoreError) in
    } before: { () throws(StoreError) in
    }
    try again.fill([900])
    #expect(try fixture.open().all().dropFirst().allSatisfy { $0.isIntact })
    #expect(try fixture.open().last.index.rawValue == 151)
  }

  /// Each operation on the disk fails once; the log is whole, also as a start finds it.
  @Test func aDiskThatRefusesLeavesTheSegmentAsItWas() throws {
    for failAt in 1... {
      let disk = FaultyDisk()
      let fixture = try LogFixture(segmentBytes: 9000, disk: disk)
      let log = try fixture.open()
      try log.begin(Term(1))
      try log.fill([4000, 4000, 4000, 4000, 4000, 4000])
      disk.fail(at: failAt, torn: true)
      let failed = (try? log.packClosed()) == nil
      disk.fail(at: 0)
      for log in [log, try fixture.open()] {
        let entries = try log.all()
        #expect(entries.count == 7 && entries.dropFirst().allSatisfy { $0.isIntact }, "\(failAt)")
      }
      try log.packClosed()
      #expect(try fixture.open().all().count == 7)
      #expect(try fixture.disk.list(fixture.path).allSatisfy { $0.hasSuffix(".log") })
      if !failed {
        #expect(failAt > 6)
        return
      }
    }
  }

  /// Readers, retention and cuts meanwhile find every entry in its place.
  @Test(.timeLimit(.minutes(5))) func packingDisturbsNobody() throws {
    let fixture = try LogFixture(segmentBytes: 12_000)
    let log = try fixture.open()
    try log.begin(Term(1))
    let failure = Mutex<(any Error)?>(nil)
    let written = Mutex(false)
    DispatchQueue.concurrentPerform(iterations: 3) { worker in
      do {
        var random = SeededRandom(UInt64(worker))
        while failure.withLock({ $0 == nil }), worker == 0 || !written.withLock({ $0 }) {
          switch worker {
          case 0:
            defer { written.withLock { $0 = true } }
            for round in 0..<60 {
              try log.fill((0..<40).map { _ in random.below(3000) })
              guard round % 4 == 3 else { continue }
              let last = log.last.index.rawValue
              try log.cut(after: LogIndex(last - UInt64(random.below(60)))) {
                (_) throws(StoreError) in
              } before: { () throws(StoreError) in
              }
              if round % 16 == 15 { try log.trim(before: LogIndex(last - 300)) }
            }
            return
          case 1: try log.packClosed()
          default:
            let summary = log.summary()
            guard summary.last.index > summary.first else { continue }
            let span = Int(summary.last.index.rawValue - summary.first.rawValue)
            let index = LogIndex(summary.first.rawValue + UInt64(random.below(span)))
            // It may have been cut or removed since.
            guard let entry = try? log.entry(at: index) else { continue }
            guard entry.id.index == index, entry.kind == .noOperation || entry.isIntact else {
              throw StoreError(.corrupt, "entry \(index) is \(entry.id)")
            }
          }
        }
      } catch { failure.withLock { $0 = error } }
    }
    #expect(failure.withLock { $0 } == nil)
    try log.packClosed()
    for log in [log, try fixture.open()] {
      #expect(try log.all().allSatisfy { $0.kind == .noOperation || $0.isIntact })
    }
  }
}
