import Foundation
import LTX
import Testing

@testable import Store

/// What a crash of the machine or a bad disk leaves of a log.
struct LogDamageTests {
  /// Whatever is left must be a prefix of what was written.
  private func expectPrefix(_ log: Log, of entries: [LogEntry], _ what: Comment) throws {
    let left = try log.all()
    #expect(left.count <= entries.count, what)
    for (a, b) in zip(left, entries) {
      #expect(a.id == b.id && a.payload == b.payload && a.database == b.database, what)
    }
    // And the log goes on from there.
    let last = log.last
    if last.term == .zero { try log.begin(Term(9)) }
    let next = try log.append(.transaction, database: "x", bytes: [1, 2, 3])
    let read = try log.entry(at: next)
    #expect(Array(read.payload) == [1, 2, 3], what)
  }

  @Test func tornAtEveryByteOfTheLastEntries() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([30, 0, 60, 20])
    let entries = try log.all()
    let path = fixture.path + "/" + (try fixture.segments()[0])
    let whole = try bytes(ofFile: path)
    for size in (0..<whole.count).reversed() {
      for rest in [[], [UInt8](repeating: 0, count: whole.count - size)] {
        let other = try LogFixture()
        try other.disk.makeDirectory(other.path)
        try write(
          Array(whole[..<size]) + rest,
          toFile: other.path + "/" + Segment.fileName(LogIndex(1))
        )
        do {
          let torn = try other.open()
          let expected = entries.prefix { $0.end(in: entries, from: whole.count) <= size }.count
          #expect(torn.last.index.rawValue == UInt64(expected), "\(size) bytes")
          try expectPrefix(torn, of: entries, "\(size) bytes of \(whole.count)")
          let again = try other.open()
          #expect(again.last == torn.last)
        } catch let error as StoreError {
          // A header that cannot be read is refused where entries may stand behind it.
          #expect(error.code == .corrupt && size < 60, "\(size) bytes")
        }
      }
    }
  }

  /// Both of the last two segments may have lost their ends.
  @Test func secondLastSegmentTorn() throws {
    let fixture = try LogFixture(segmentBytes: 500)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill(Array(repeating: 60, count: 25))
    let entries = try log.all()
    let names = try fixture.segments()
    #expect(names.count >= 4)
    let victim = names[names.count - 2]
    let first = try #require(Segment.firstIndex(ofName: victim))
    let whole = try bytes(ofFile: fixture.path + "/" + victim)
    for cut in stride(from: 1, to: whole.count - 60, by: 7) {
      let copy = try TestDirectory.copy(of: fixture.path)
      try write(Array(whole[..<(whole.count - cut)]), toFile: copy.path + "/" + victim)
      let torn = try Log.open(
        directory: copy.path,
        disk: SystemDisk(),
        clock: fixture.clock,
        segmentBytes: 500
      )
      #expect(torn.last.index >= LogIndex(first.rawValue - 1))
      #expect(torn.last.index < log.last.index)
      try expectPrefix(torn, of: entries, "cut by \(cut)")
      let again = try Log.open(
        directory: copy.path,
        disk: SystemDisk(),
        clock: fixture.clock,
        segmentBytes: 500
      )
      #expect(again.last == torn.last)
    }
  }

  @Test func lastSegmentWithoutItsHeader() throws {
    let fixture = try LogFixture(segmentBytes: 500)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill(Array(repeating: 60, count: 20))
    let before = log.last
    let empty = fixture.path + "/" + Segment.fileName(before.index.next)
    for size in [0, 10, 43] {
      try write([UInt8](repeating: 0, count: size), toFile: empty)
      let reopened = try fixture.open()
      #expect(reopened.last == before)
      #expect(!FileManager.default.fileExists(atPath: empty))
    }
  }

  /// No flipped bit anywhere makes the log lie; where entries would be lost that lie before others,
  /// it says so.
  @Test(arguments: [1 << 20, 300] as [Int64])
  func everyByteFlipped(segmentBytes: Int64) throws {
    let fixture = try LogFixture(segmentBytes: segmentBytes)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([20, 0, 40])
    try log.begin(Term(2))
    try log.fill([33, 5, 40, 12])
    let entries = try log.all()
    for name in try fixture.segments() {
      let whole = try bytes(ofFile: fixture.path + "/" + name)
      for at in whole.indices {
        let copy = try TestDirectory.copy(of: fixture.path)
        var damaged = whole
        damaged[at] ^= UInt8(1 << (at % 8))
        try write(damaged, toFile: copy.path + "/" + name)
        do {
          let opened = try Log.open(
            directory: copy.path,
            disk: SystemDisk(),
            clock: fixture.clock,
            segmentBytes: segmentBytes
          )
          var left: [LogEntry] = []
          do { left = try opened.all() } catch let error as StoreError {
            #expect(error.code == .corrupt || error.code == .notFound)
          }
          for (a, b) in zip(left, entries) {
            #expect(a.id == b.id && a.payload == b.payload, "\(name) byte \(at)")
          }
          #expect(left.count <= entries.count)
        } catch let error as StoreError {
          #expect(error.code == .corrupt, "\(name) byte \(at): \(error)")
        }
      }
    }
  }

  /// A header that cannot be read, with entries behind it, is damage and no torn end: nothing is
  /// thrown away.
  @Test func damagedHeaderKeepsTheFile() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([100, 200])
    let path = fixture.path + "/" + (try fixture.segments()[0])
    var damaged = try bytes(ofFile: path)
    damaged[17] ^= 1
    try write(damaged, toFile: path)
    #expect { try fixture.open() } throws: { ($0 as? StoreError)?.code == .corrupt }
    #expect(try bytes(ofFile: path) == damaged)
  }

  // MARK: Failing disks

  @Test(arguments: [false, true]) func failedWriteLeavesTheLogAsItWas(torn: Bool) throws {
    let disk = FaultyDisk()
    let fixture = try LogFixture(segmentBytes: 600, disk: disk)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([10])
    for attempt in 1...40 {
      let before = log.last
      disk.fail([.write, .open, .syncDirectory], at: 1 + attempt % 3, torn: torn)
      let appended = (try? log.fill([70])) != nil
      let failed = !disk.failures.isEmpty
      disk.heal()
      #expect(appended == !failed)
      #expect(log.last.index.rawValue == before.index.rawValue + (failed ? 0 : 1))
      let other = try fixture.open()
      #expect(other.last == log.last)
      #expect(try log.all().dropFirst().allSatisfy { $0.isIntact })
    }
  }

  @Test func failedWriteThatCannotBeCutBackStopsTheLog() throws {
    let disk = FaultyDisk()
    let fixture = try LogFixture(disk: disk)
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.fill([10])
    let before = log.last
    disk.fail([.write, .truncate], at: 1, sticky: true, torn: true)
    #expect(throws: StoreError.self) { try log.fill([70]) }
    disk.heal()
    #expect(throws: StoreError.self) { try log.fill([70]) }
    #expect(log.last == before)
    #expect(try fixture.open().last == before)
  }
}

extension LogEntry {
  /// Where in a file of `size` bytes that ends with `all` this entry ends.
  fileprivate func end(in all: [LogEntry], from size: Int) -> Int {
    all.filter { $0.id.index > id.index }.reduce(size) { $0 - $1.length }
  }

  private var length: Int {
    LogFormat.headerBytes + database.utf8.count + payload.count + LogFormat.checksumBytes
  }
}
