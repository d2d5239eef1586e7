import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// A primary and a replica that is fed by hand.
final class PairFixture {
  let primary: StoreFixture
  private(set) var replica: StoreFixture
  private(set) var engine: ReplicaEngine
  var random: SeededRandom
  /// Descriptors that hold the wal-index's dead-man switch, as the daemon's lock does on a mount.
  private var switches: [String: DeadManSwitch] = [:]

  convenience init(seed: UInt64 = 1, disk: any Disk = FaultyDisk()) throws {
    try self.init(
      seed: seed,
      primary: StoreFixture(),
      replica: StoreFixture(disk: disk, role: .replica)
    )
  }

  init(seed: UInt64 = 1, primary: StoreFixture, replica: StoreFixture) throws {
    self.primary = primary
    self.replica = replica
    engine = try ReplicaEngine(store: replica.store)
    random = SeededRandom(seed)
  }

  /// Sends what the replica lacks, in batches of random size.
  func ship(through limit: LogIndex = .max) throws {
    while true {
      let next = engine.logSummary().last.index.next
      guard next <= min(limit, primary.store.log.last.index) else { return }
      let size = [1, 300, 5000, 1 << 20][random.below(4)]
      let recent = random.below(2) == 0 ? primary.store.recent(from: next, maxBytes: size) : nil
      try engine.append(try recent ?? primary.store.read(from: next, maxBytes: size))
    }
  }

  /// Waits until all that was sent is applied.
  func settle(_ what: String = "") throws {
    let done = eventually { [engine] in
      let progress = engine.progress()
      return progress.applied == progress.received && progress.repairing == 0
    }
    guard done else {
      throw LogReplay.Mismatch(
        description: "\(what): the replica stays at \(engine.progress()); waiting: "
          + "\(engine.waitingDatabases()), to repair: \(engine.databasesToRepair())"
      )
    }
  }

  /// Sends everything and compares all databases of both.
  func follow(_ what: String = "") throws {
    try ship()
    // Applying may find out that more is needed.
    for _ in 0..<4 {
      try repair()
      _ = eventually { [engine] in
        let progress = engine.progress()
        return progress.repairing > 0 || progress.applied == progress.received
      }
    }
    try settle(what)
    try compare(what)
  }

  /// Both sides stand at the same entry: then everything must be equal.
  func compare(_ what: String = "") throws {
    try primary.replay.advance(primary.store.log)
    #expect(replica.store.databases() == primary.store.databases(), "\(what)")
    for (name, image) in primary.replay.images {
      #expect(replica.position(name) == image.position, "\(what): \(name)")
      let here = image.bytes.isEmpty ? [] : try CommittedImage(path: replica.path(name)).bytes
      guard here == image.bytes else {
        throw LogReplay.Mismatch(
          description: "\(what): \(name) has \(here.count) bytes on the replica, "
            + "\(image.bytes.count) in the log, and they differ"
        )
      }
    }
  }

  /// Fetches the pages of what needs repair. `between` runs between two pieces of a snapshot.
  func repair(
    maxBytes: Int = 16 << 10,
    _ between: () throws -> Void = {}
  ) throws {
    for _ in 0..<5 {
      let names = engine.databasesToRepair()
      if names.isEmpty { return }
      for name in names {
        guard primary.store.databases().contains(where: { $0.name == name }) else {
          try engine.dropUnknown(name)
          continue
        }
        try fetch(name, maxBytes: maxBytes, between)
      }
    }
    throw LogReplay.Mismatch(description: "repair never ends: \(engine.databasesToRepair())")
  }

  /// How many pages had to be sent.
  @discardableResult
  func fetch(
    _ name: String,
    maxBytes: Int = 16 << 10,
    limit: Int = .max,
    _ between: () throws -> Void = {}
  ) throws -> Int {
    let source = try primary.store.openSnapshot(
      of: name,
      checksums: try engine.snapshotChecksums(of: name)
    )
    try engine.beginSnapshot(source.begin)
    var sent = 0
    while let pages = try source.next(maxBytes: maxBytes) {
      try engine.addSnapshot(name, pages)
      sent += pages.count
      if sent >= limit { return sent }
      try between()
    }
    let end = try source.end()
    try ship(through: end.index)
    try engine.endSnapshot(name, end)
    return sent
  }

  /// A connection to a database of the replica, as on its mount.
  func read(_ name: String) throws -> Connection {
    let shm = replica.path(name) + "-shm"
    if FileManager.default.fileExists(atPath: shm) {
      switches[name] = try DeadManSwitch(shm)
    }
    return try replica.connect(name, readOnly: true)
  }

  /// The replica's process is gone without a word and started again.
  func restartReplica() throws {
    switches = [:]
    try replica.restart(role: .replica)
    engine = try ReplicaEngine(store: replica.store)
  }

  /// SQLite never found reason to build the replica's wal-index anew.
  var recoveries: Int { replica.vfs.counts.withLock { $0.recoveries } }
}

/// Holds byte 128 of a wal-index by a lock that belongs to the open file, so that SQLite in this
/// process sees somebody else's.
final class DeadManSwitch {
  private let descriptor: Int32

  init(_ path: String) throws {
    descriptor = open(path, O_RDWR)
    var lock = flock()
    lock.l_type = Int16(F_RDLCK)
    lock.l_whence = Int16(SEEK_SET)
    lock.l_start = 128
    lock.l_len = 1
    let isLocked = withUnsafeMutableBytes(of: &lock) { raw -> Bool in
      guard let base = raw.baseAddress else { return false }
      return fcntl(descriptor, 37, base) == 0  // F_OFD_SETLK
    }
    guard descriptor >= 0, isLocked else { throw StoreError(.busy, "no lock on \(path)") }
  }

  deinit { close(descriptor) }
}
