import LTX
import Testing

@testable import Store

/// A log in a directory of its own, which goes with the fixture.
struct LogFixture {
  let directory: TestDirectory
  let disk: any Disk
  let clock = TestClock()
  var segmentBytes: Int64 = 64 << 20

  init(segmentBytes: Int64 = 64 << 20, disk: any Disk = FaultyDisk()) throws {
    directory = try TestDirectory("log")
    self.disk = disk
    self.segmentBytes = segmentBytes
  }

  var path: String { directory.path + "/log" }

  func open() throws -> Log {
    try Log.open(directory: path, disk: disk, clock: clock, segmentBytes: segmentBytes)
  }

  /// Segment files, oldest first.
  func segments() throws -> [String] {
    try disk.list(path).filter { $0.hasSuffix(".log") }
  }
}

extension Log {
  /// Appends entries whose payloads tell their number and have the given sizes.
  @discardableResult
  func fill(_ sizes: [Int], database: String = "a.db") throws -> [LogIndex] {
    try sizes.map { try append(.transaction, database: database, bytes: Log.payload($0, last)) }
  }

  static func payload(_ size: Int, _ before: EntryID) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: before.index.rawValue &* 31 &+ UInt64($0)) }
  }

  /// Every entry the log has, decoded, by a walk through the whole of it.
  func all() throws -> [LogEntry] {
    var entries: [LogEntry] = []
    let summary = summary()
    try forEach(after: LogIndex(summary.first.rawValue - 1), through: summary.last.index) {
      (entry) throws(StoreError) in
      entries.append(entry)
    }
    return entries
  }
}

extension LogEntry {
  /// Whether the payload is what `Log.fill` wrote.
  var isIntact: Bool {
    let before = EntryID(term: id.term, index: LogIndex(id.index.rawValue - 1))
    return Array(payload) == Log.payload(payload.count, before)
  }
}
