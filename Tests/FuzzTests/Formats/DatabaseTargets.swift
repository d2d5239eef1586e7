import LTX
import Logging

@testable import Store

/// What the store finds in the tree and in its own state: databases, journals, records.
enum DatabaseTargets {
  static func store(_ disk: MemoryDisk) throws(StoreError) -> Store {
    try Store.open(
      StoreConfiguration(directory: "/d"),
      disk: disk,
      clock: StillClock(),
      random: { 4 },
      node: 7,
      logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
    )
  }

  static func becomePrimary(_ store: Store) throws(StoreError) {
    try store.becomePrimary(Term(store.log.last.term.rawValue + 1))
  }

  // MARK: One file

  /// A byte whose bit 0 puts checksums right, the journal, and the database beside it.
  static let journal = FuzzTarget(
    "journal",
    seeds: {
      let journals = [
        DatabaseSeeds.journal(synced: true), DatabaseSeeds.journal(synced: false),
        DatabaseSeeds.journal(synced: true) + DatabaseSeeds.journal(synced: true),
      ]
      return journals.map { [1] + FuzzInput.blocks([$0]) + DatabaseSeeds.database() }
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    let isSealed = input.byte() & 1 != 0
    var content = input.block()
    if isSealed { Seals.journal(&content) }
    let file = MemoryFile(inode: 1)
    let main = MemoryFile(inode: 2)
    do throws(StoreError) {
      try file.writeAll(content, at: 0)
      try main.writeAll(input.remaining(), at: 0)
    } catch { return }
    for isUnsynced in [false, true] {
      guard var journal = try? RollbackJournal(file, unsynced: isUnsynced) else { continue }
      for isHot in [false, true] {
        guard let records = try? journal.records(hot: isHot) else { continue }
        let size = journal.header.pageSize.bytes
        try FuzzFinding.check(
          records.count <= content.count / (size + 8),
          "a journal of \(content.count) bytes has \(records.count) records"
        )
        let leaves = try? FreelistLeaves.reused(journal: journal, records: records) {
          (page) throws(StoreError) in
          try main.readBytes(size, at: page.offset(journal.header.pageSize))
        }
        try FuzzFinding.check(
          (leaves?.count ?? 0) <= (records.count + 1) * size / 4,
          "\(leaves?.count ?? 0) leaves from \(records.count) records"
        )
      }
      try? journal.playBack(into: main)
    }
  }

  /// Each decoder of a few fixed bytes.
  static let records = FuzzTarget(
    "records",
    maxBytes: 512,
    seeds: { [DatabaseSeeds.record().encoded(), Array(DatabaseSeeds.database().prefix(120))] }
  ) { bytes in
    _ = bytes.withUnsafeBytes { DatabaseHeader($0) }
    for isSealed in [false, true] {
      var bytes = bytes
      if isSealed { Seals.end(&bytes) }
      guard let record = DatabaseRecord(bytes) else { continue }
      try FuzzFinding.check(
        DatabaseRecord(record.encoded()) == record,
        "a record changes when it is written again"
      )
    }
    for count in [WALHeader.bytes, WALIndex.headerBytes] {
      _ = bytes.prefix(count).withUnsafeBytes { WALHeader($0) }
      _ = WALIndex.Header(Array(bytes.prefix(count)))
    }
    _ = LTXFileName(String(decoding: bytes, as: UTF8.self))
  }

  // MARK: A whole directory

  /// A byte of what to put right, then database, write-ahead log and journal, found in the tree by a
  /// node that becomes primary.
  static let adoption = FuzzTarget(
    "adoption",
    seeds: {
      let database = DatabaseSeeds.database()
      let wal = DatabaseSeeds.wal()
      let journal = DatabaseSeeds.journal(synced: true)
      return [[database, wal, journal], [database, wal], [database, [], journal], [database]].map {
        [3] + FuzzInput.blocks($0)
      }
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    let repairs = input.byte()
    let main = input.block()
    var wal = input.block()
    var journal = input.block()
    if repairs & 1 != 0 { Seals.wal(&wal) }
    if repairs & 2 != 0 { Seals.journal(&journal) }
    let disk = MemoryDisk()
    do throws(StoreError) {
      for (name, content) in [("", main), ("-wal", wal), ("-journal", journal)]
      where !content.isEmpty {
        try disk.put("/d/files/a.db" + name, content)
      }
      let store = try store(disk)
      try becomePrimary(store)
      try store.maintain(everything: true)
    } catch {}
    try restartTwice(disk)
  }

  /// Whatever a node left, one that starts on it leaves something on which the next one starts the
  /// same way.
  static func restartTwice(_ disk: MemoryDisk) throws {
    do throws(StoreError) {
      let positions = try store(disk).allDatabases.map(\.published.position)
      let again = try store(disk).allDatabases.map(\.published.position)
      guard positions == again else {
        throw StoreError(.invalid, "a finding: a second start finds other positions")
      }
    } catch {
      if error.message.hasPrefix("a finding") { throw FuzzFinding(error.message) }
    }
  }

  /// Where `restart` puts its files, by the number before each.
  private static let places = [
    "/d/state/0000000000000001.db", "/d/state/0000000000000001.sums", "/d/state/repair",
    "/d/state/redo", "/d/files/a.db", "/d/files/a.db-journal", "/d/files/a.db-wal",
    "/d/log/0000000000000001.log", "/d/log/0000000000000007.log",
  ]

  private static func seal(_ place: Int, _ bytes: inout [UInt8]) {
    switch place {
    case 0, 2, 3: Seals.end(&bytes)
    case 5: Seals.journal(&bytes)
    case 6: Seals.wal(&bytes)
    case 7, 8: Seals.segment(&bytes)
    default: break
    }
  }

  /// A byte of what to put right, then files: a byte that says which, and its content.
  static let restart = FuzzTarget("restart", maxBytes: 16_384, seeds: restartSeeds) { bytes in
    var input = FuzzInput(bytes)
    let repairs = input.byte()
    let disk = MemoryDisk()
    do throws(StoreError) {
      for _ in 0..<12 where !input.isEmpty {
        let place = Int(input.byte()) % places.count
        var content = input.block()
        if repairs & 1 != 0 { seal(place, &content) }
        try disk.put(places[place], content)
      }
      let store = try store(disk)
      if repairs & 2 != 0 { try becomePrimary(store) } else { try store.becomeReplica() }
      try store.maintain(everything: true)
      try store.shutDown()
    } catch {}
    try restartTwice(disk)
  }

  @Sendable private static func restartSeeds() throws -> [[UInt8]] {
    let disk = MemoryDisk()
    try disk.put("/d/files/a.db", DatabaseSeeds.database())
    let node = try store(disk)
    try becomePrimary(node)
    try node.maintain(everything: true)
    node.log.close()
    func files(_ wanted: [Int]) throws -> [UInt8] {
      try wanted.flatMap { place -> [UInt8] in
        guard let content = try disk.contents(places[place], limit: 1 << 20) else { return [] }
        return [UInt8(place)] + FuzzInput.blocks([content])
      }
    }
    var seeds: [[UInt8]] = []
    for repairs in [UInt8(1), 3] {
      seeds.append([repairs] + (try files([0, 1, 3, 4, 7])))
      seeds.append([repairs] + (try files([4, 7])))
      seeds.append([repairs] + (try files([7])))
      let journal = FuzzInput.blocks([DatabaseSeeds.journal(synced: true)])
      seeds.append([repairs] + (try files([0, 1, 4, 7])) + [5] + journal)
      let repair = FuzzInput.blocks([Array("a.db".utf8) + [0] + FuzzInput.big(UInt64(0))])
      seeds.append([repairs] + (try files([0, 1, 4, 7])) + [2] + repair)
      let segments = LogTargets.segments(try LTXSeeds.history())
      seeds.append(
        [repairs, 7] + FuzzInput.blocks([segments[0]]) + [8] + FuzzInput.blocks([segments[1]])
      )
    }
    return seeds
  }

  /// What an interrupted snapshot left.
  static let staging = FuzzTarget(
    "staging",
    seeds: {
      let page = [UInt8](repeating: 1, count: 512)
      let record = FuzzInput.big(UInt32(1)) + page + FuzzInput.big(UInt32(3)) + page
      return [FuzzInput.big(UInt32(512)) + record]
    }
  ) { bytes in
    let disk = MemoryDisk()
    do throws(StoreError) {
      let store = try store(disk)
      try disk.put(SnapshotStaging.path(store, "a.db"), bytes)
      guard var staging = try SnapshotStaging.open(store, "a.db", pageSize: nil) else { return }
      let page = [UInt8](repeating: 2, count: staging.pageSize.bytes)
      try staging.add([SnapshotPage(number: PageNumber(2), bytes: page)])
      guard try staging.content(2) == page else {
        throw StoreError(.invalid, "a finding: a page is not read back")
      }
      for number in staging.offsets.keys { _ = try staging.content(number) }
      staging.cut(to: 2)
    } catch {
      if error.message.hasPrefix("a finding") { throw FuzzFinding(error.message) }
    }
  }
}
