import Foundation
import LTX
import Logging
import Synchronization
import Testing

@testable import Store

/// A store in a directory of its own, with the shim in the place of the mount.
final class StoreFixture {
  let directory: TestDirectory
  let disk: any Disk
  let clock = TestClock()
  private let configure: (inout StoreConfiguration) -> Void
  private(set) var store: Store
  private(set) var vfs: ShimVFS
  var replay = LogReplay()

  /// A new node, or the one whose directory is given.
  init(
    _ directory: TestDirectory? = nil,
    disk: any Disk = FaultyDisk(),
    role: Store.Role = .primary,
    term: UInt64 = 1,
    configure: @escaping (inout StoreConfiguration) -> Void = { _ in }
  ) throws {
    let directory = try directory ?? TestDirectory("store")
    self.directory = directory
    self.disk = disk
    self.configure = configure
    store = try Self.open(directory, disk, clock, configure)
    vfs = try ShimVFS(store, recordsDirectWrites: Self.seesDirectWrites(disk))
    if role == .primary {
      try store.becomePrimary(Term(max(term, store.log.last.term.rawValue + 1)))
    }
    if role == .replica { try store.becomeReplica() }
  }

  static func open(
    _ directory: TestDirectory,
    _ disk: any Disk,
    _ clock: TestClock,
    _ configure: (inout StoreConfiguration) -> Void = { _ in }
  ) throws -> Store {
    var configuration = StoreConfiguration(directory: directory.path)
    configure(&configuration)
    let random = Mutex(SeededRandom(99))
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    if ProcessInfo.processInfo.environment["HALITE_TEST_LOG"] != nil {
      logger = Logger(label: "test")
    }
    return try Store.open(
      configuration,
      disk: disk,
      clock: clock,
      random: { random.withLock { UInt32(truncatingIfNeeded: $0.next()) } },
      node: 7,
      logger: logger
    )
  }

  private static func seesDirectWrites(_ disk: any Disk) -> Bool {
    disk is CrashDisk || (disk as? FaultyDisk)?.seesDirectWrites == true
  }

  func path(_ name: String) -> String { store.tree + "/" + name }

  func connect(_ name: String, readOnly: Bool = false) throws -> Connection {
    try Connection(path(name), vfs: vfs, readOnly: readOnly)
  }

  func position(_ name: String) -> Position {
    store.database(name)?.published.position ?? .zero
  }

  /// Compares what the log says, what the files say and what the store says of a database between
  /// two transactions.
  func check(_ name: String, _ what: String = "") throws {
    try replay.advance(store.log)
    let logged = replay.images[name] ?? LogReplay.Image()
    let image = try CommittedImage(path: path(name))
    let here = position(name)
    #expect(here == logged.position, "position after \(what)")
    guard logged.bytes != image.bytes else { return }
    let size = max(image.pageSize, 512)
    let pages = (0..<(max(logged.bytes.count, image.bytes.count) / size)).filter { page in
      let range = (page * size)..<((page + 1) * size)
      guard range.upperBound <= logged.bytes.count, range.upperBound <= image.bytes.count else {
        return true
      }
      return logged.bytes[range] != image.bytes[range]
    }
    throw LogReplay.Mismatch(
      description: "after \(what): the log holds \(logged.bytes.count) bytes of pages of "
        + "\(logged.pageSize), the files \(image.bytes.count) of \(image.pageSize); they differ in "
        + "pages \(pages.prefix(20).map { $0 + 1 })"
    )
  }

  /// The node is gone without a word; another one starts on what it left.
  func restart(term: UInt64? = nil, role: Store.Role = .primary) throws {
    store = try Self.open(directory, disk, clock, configure)
    vfs = try ShimVFS(store, recordsDirectWrites: Self.seesDirectWrites(disk))
    if role == .primary {
      try store.becomePrimary(Term(term ?? store.log.last.term.rawValue + 1))
    }
    if role == .replica { try store.becomeReplica() }
  }
}
