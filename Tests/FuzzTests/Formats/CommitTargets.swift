import Dispatch
import LTX
import Synchronization

@testable import Store

/// What an application does to its database through the mount, whether or not it is SQLite.
enum CommitTargets {
  /// A byte of what to put right and how to cut the writes, then a write-ahead log, a journal and
  /// the database that the journal's transaction made.
  static let commits = FuzzTarget(
    "commits",
    seeds: {
      let journal = DatabaseSeeds.journal(synced: true)
      let unsynced = DatabaseSeeds.journal(synced: false)
      var changed = DatabaseSeeds.database()
      changed[600] = 7
      let wal = DatabaseSeeds.wal()
      return [
        [3] + FuzzInput.blocks([wal, [], []]), [7] + FuzzInput.blocks([wal, [], []]),
        [3] + FuzzInput.blocks([[], journal, changed]),
        [3] + FuzzInput.blocks([[], unsynced, changed + [UInt8](repeating: 1, count: 512)]),
        [3] + FuzzInput.blocks([wal, journal, Array(changed.prefix(512))]),
      ]
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    let choice = input.byte()
    var wal = input.block()
    var journal = input.block()
    let main = input.block()
    if choice & 1 != 0 { Seals.wal(&wal) }
    if choice & 2 != 0 { Seals.journal(&journal) }
    let disk = MemoryDisk()
    do throws(StoreError) {
      try disk.put("/d/files/a.db", DatabaseSeeds.database())
      let store = try DatabaseTargets.store(disk)
      try DatabaseTargets.becomePrimary(store)
      try write(store, "a.db-wal", wal, step: choice & 4 == 0 ? wal.count : 536)
      try write(store, "a.db-journal", journal, step: choice & 8 == 0 ? journal.count : 520)
      if !journal.isEmpty {
        let file = try store.open(FileName("a.db"), [.write]).file
        try file.writeAll(main, at: 0)
        if choice & 16 != 0 { try file.truncate(to: Int64(main.count)) }
        try finish { store.remove(FileName("a.db-journal"), done: $0) }
      }
      try store.maintain(everything: true)
    } catch {}
    try DatabaseTargets.restartTwice(disk)
  }

  private static func write(
    _ store: Store,
    _ name: String,
    _ bytes: [UInt8],
    step: Int
  ) throws(StoreError) {
    guard !bytes.isEmpty else { return }
    let file = try store.open(FileName(name), [.write, .create])
    var offset = 0
    while offset < bytes.count {
      let part = Array(bytes[offset..<min(bytes.count, offset + step)])
      // One that is refused has not been made; others may follow.
      try? finish { done in
        part.withUnsafeBytes { store.write(file, at: Int64(offset), $0, done: done) }
      }
      offset += part.count
    }
  }

  /// Waits for an operation that may end on another thread.
  private static func finish(
    _ body: (@escaping MountCompletion) -> Void
  ) throws(StoreError) {
    let ended = DispatchSemaphore(value: 0)
    let result = Outcome()
    body { error in
      result.error.withLock { $0 = error }
      ended.signal()
    }
    ended.wait()
    if let error = result.error.withLock({ $0 }) { throw error }
  }

  private final class Outcome: Sendable {
    let error = Mutex<StoreError?>(nil)
  }
}
