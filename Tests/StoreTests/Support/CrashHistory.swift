import Foundation
import LTX
import Synchronization

@testable import Store

/// What the databases of a run were after each entry of its log, and what they may be after a crash.
struct CrashHistory {
  private(set) var replays: [EntryID: LogReplay] = [.zero: LogReplay()]
  private(set) var newest = LogReplay()
  var segmentBytes: Int64 = 64 << 20

  init() {}

  /// Takes what the log has gained; to be called before anything of it is trimmed.
  mutating func advance(_ log: Log) throws {
    while newest.last < log.last.index {
      try newest.advance(log, through: newest.last.next)
      replays[EntryID(term: log.term(at: newest.last) ?? .zero, index: newest.last)] = newest
    }
  }

  /// Takes in what might have been: entries that follow the same beginning.
  mutating func merge(_ other: CrashHistory) {
    replays.merge(other.replays) { own, _ in own }
  }

  /// A store on what a crash left.
  func open(_ directory: TestDirectory, _ disk: any Disk = SystemDisk()) throws -> Store {
    try StoreFixture.open(directory, disk, TestClock()) { $0.segmentBytes = segmentBytes }
  }

  /// Opens what a crash left and compares it with what was committed: it must be all that was
  /// promised, at the boundary of a transaction, and what the store believes must be true.
  ///
  /// - Parameter disk: what the store is to recover on.
  func expectCommitted(
    _ directory: TestDirectory,
    _ disk: any Disk = SystemDisk(),
    promised: LogIndex
  ) throws -> Store {
    let store = try open(directory, disk)
    let last = store.log.last
    guard last.index >= promised else {
      throw LogReplay.Mismatch(description: "the log ends at \(last); \(promised) was promised")
    }
    guard let replay = replays[last] else {
      throw LogReplay.Mismatch(description: "the log ends at \(last), which it never had")
    }
    let repairs = try RepairList.load(store.context)
    let names = Set(store.databases().map(\.name))
    let expected = Set(replay.images.keys)
    guard names.subtracting(repairs) == expected.subtracting(repairs) else {
      throw LogReplay.Mismatch(
        description: "at \(last) there are \(names.sorted()) and not \(expected.sorted())"
      )
    }
    for (name, image) in replay.images where !repairs.contains(name) {
      try compare(store, name, image)
    }
    return store
  }

  private func compare(_ store: Store, _ name: String, _ image: LogReplay.Image) throws {
    guard let database = store.database(name) else { return }
    func fail(_ what: String) -> LogReplay.Mismatch {
      LogReplay.Mismatch(description: "\(name) at \(store.log.last.index): \(what)")
    }
    if let failed = database.published.failed { throw fail("\(failed)") }
    guard database.published.position == image.position else {
      throw fail("stands at \(database.published.position) and not \(image.position)")
    }
    let strayed = database.state.withLock { $0.strayed }
    guard !strayed else { return }
    let bytes = try StoreTests.bytes(ofFile: store.tree + "/" + name)
    guard bytes == image.bytes else { throw fail("the bytes differ") }
    guard !image.bytes.isEmpty, let size = PageSize(bytes: image.pageSize) else { return }
    let known = database.state.withLock { $0.checksums?.values ?? [] }
    guard known.count == bytes.count / size.bytes else { throw fail("the checksums are too few") }
    for (number, value) in known.enumerated() {
      let page = PageNumber(UInt32(number + 1))
      let content = bytes[(number * size.bytes)..<((number + 1) * size.bytes)]
      guard content.withUnsafeBytes({ Checksum.page(page, $0) }).rawValue == value else {
        throw fail("the checksum of page \(page) is another page's")
      }
    }
  }

  /// A second start changes nothing; then the node goes on: real SQLite finds every database
  /// intact, writes to it, and log and files agree afterwards.
  func expectUsable(_ directory: TestDirectory, promised: LogIndex) throws {
    let first = try directory.files("files")
    let store = try expectCommitted(directory, promised: promised)
    let strayed = store.allDatabases.contains { $0.state.withLock { $0.strayed } }
    guard try directory.files("files") == first else {
      throw LogReplay.Mismatch(description: "a second start changed the databases")
    }
    let fixture = try StoreFixture(directory, disk: SystemDisk()) {
      $0.segmentBytes = segmentBytes
    }
    let before = fixture.store.databases().map(\.name)
    fixture.replay = replays[store.log.last] ?? LogReplay()
    // A file whose first transaction SQLite completed and the log lost is taken up as it is.
    let isNew = Set(before) != Set(fixture.replay.images.keys)
    guard strayed || isNew || fixture.store.log.last.index == store.log.last.index.next
    else { throw LogReplay.Mismatch(description: "a start brought entries to the log") }
    for name in before {
      try fixture.check(name, "a crash")
      let connection = try fixture.connect(name)
      let verdict = try connection.value("PRAGMA integrity_check")
      guard verdict == "ok" else {
        throw LogReplay.Mismatch(description: "\(name): integrity_check says \(verdict)")
      }
      try connection.run("CREATE TABLE IF NOT EXISTS more(x); INSERT INTO more VALUES (1)")
      try fixture.check(name, "the first transaction after a crash")
    }
    try fixture.store.maintain(everything: true)
    for name in before { try fixture.check(name, "housekeeping after a crash") }
  }
}
