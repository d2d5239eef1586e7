import LTX
import Synchronization

// How the scrub tells damage from a page that is only on its way.
//
// Pages are first read without any lock and compared with the table as it was before. What differs is
// looked at again, page by page, under the lock that capture and apply take. Then:
//
// * a page whose newest copy lies in the write-ahead log is written by nobody once it is committed, and
//   with a write-ahead log in use a page without a copy in it is written by nobody either: a checkpoint
//   copies only what is in the log. On a replica all writes are the daemon's, under the same lock. So what
//   differs is damage;
// * with a rollback journal a client may have written and not committed. It has RESERVED or more then, or
//   it died and its journal is hot. A transaction cannot end while the database's lock is held here, since
//   its capture needs that. A client that keeps its EXCLUSIVE lock between transactions leaves the file just
//   as it was after its last commit: what differs in such a file at two looks is damage;
// * where a client that ignores SQLite's locks may be writing, nothing is said: the file is compared
//   when that client closes it.

/// What the scrub says of a page.
enum ScrubVerdict: Equatable {
  case sound
  case damaged(DamagedPage)
  /// Damaged if it is so at a second look.
  case doubtful(DamagedPage)
  /// A transaction may be under way: to be looked at later.
  case unclear
}

extension Database {
  /// Pages read as one piece of work, at most.
  static let scrubPages = 32
  /// Bytes of them, at most.
  static let scrubBytes = 256 << 10

  /// What a batch of pages looked like.
  struct ScrubBatch {
    /// Pages read.
    var pages: UInt32 = 0
    var bytes = 0
    /// Pages that differ from the table, to be looked at again.
    var differing: [PageNumber] = []
    /// The pages of the database when it was read.
    var of: UInt32 = 0
  }

  private struct Wanted {
    var page: PageNumber
    var checksum: Checksum
    var file: any DiskFile
    var offset: Int64
  }

  /// Reads pages from `first` on, without holding the database's lock meanwhile.
  ///
  /// - Returns: nil when the database is not to be looked at: it waits for a repair, or is gone.
  func scrub(from first: UInt32, maxBytes: Int) throws(StoreError) -> ScrubBatch? {
    var batch = ScrubBatch()
    let found = try state.withLock { state throws(StoreError) -> (PageSize, [Wanted])? in
      guard isScrubbable(state), let size = state.pageSize, state.pages > 0 else { return nil }
      if first == 1 { state.isDoubted = false }
      batch.of = state.pages
      let room = max(1, min(Self.scrubPages, min(maxBytes, Self.scrubBytes) / size.bytes))
      let last = min(UInt64(first) + UInt64(room) - 1, UInt64(state.pages))
      guard UInt64(first) <= last else { return (size, []) }
      let main = try mainFile(&state)
      batch.pages = UInt32(last) - first + 1
      var wanted: [Wanted] = []
      for number in first...UInt32(last) {
        let page = PageNumber(number)
        guard let checksum = state.checksums?[page] else { continue }
        if let (file, offset) = logged(page, state) {
          wanted.append(Wanted(page: page, checksum: checksum, file: file, offset: offset))
        } else {
          let offset = page.offset(size)
          wanted.append(Wanted(page: page, checksum: checksum, file: main, offset: offset))
        }
      }
      return (size, wanted)
    }
    guard let (size, wanted) = found else { return nil }
    var buffer = [UInt8](repeating: 0, count: size.bytes)
    for want in wanted {
      let found = try want.file.checksum(of: want.page, size, at: want.offset, &buffer)
      if found != want.checksum { batch.differing.append(want.page) }
      batch.bytes += size.bytes
    }
    return batch
  }

  private func isScrubbable(_ state: borrowing DatabaseState) -> Bool {
    !state.dropped && state.failed == nil && !state.strayed
      // Pages of a transaction that the log has and SQLite rolled back differ until they are recorded.
      && state.stalled == nil && state.unkept.isEmpty
  }

  /// Where in the write-ahead log a page is read; nil for the main file, also once all of the log has
  /// been copied there: readers then leave the log alone, and the next writer starts it over.
  private func logged(
    _ page: PageNumber,
    _ state: borrowing DatabaseState
  ) -> (file: any DiskFile, offset: Int64)? {
    guard state.backfilled < state.entry, let offset = state.walPages[page.rawValue],
      let file = state.walFile
    else { return nil }
    return (file, offset)
  }

  /// The checksum of a page as readers get it.
  func storedChecksum(
    of page: PageNumber,
    _ size: PageSize,
    _ buffer: inout [UInt8],
    in state: inout DatabaseState
  ) throws(StoreError) -> Checksum {
    if let (file, offset) = logged(page, state) {
      let checksum = try file.checksum(of: page, size, at: offset, &buffer)
      if try isCurrent(file, state) { return checksum }
    }
    return try mainFile(&state).checksum(of: page, size, &buffer)
  }

  /// Looks again at a page that differed. Takes no lock that a client could run into.
  ///
  /// - Parameter isFollowing: whether this node follows a primary.
  func verdict(on page: PageNumber, isFollowing: Bool) throws(StoreError) -> ScrubVerdict {
    try state.withLock { state throws(StoreError) in
      let isQuiet = !isBeingWritten
      guard let damage = try difference(at: page, in: &state) else { return .sound }
      // What a client has written by itself may be in the files before it is captured.
      if isFollowed.load(ordering: .relaxed), !isFollowing,
        !isLogAtRest || state.mayHaveMissed
      {
        return .unclear
      }
      if isFollowing || state.walPages[page.rawValue] != nil || state.wal.header != nil {
        return .damaged(damage)
      }
      if try hasHotJournal() { return .unclear }
      let now = try mainFile(&state).known()
      let isClients = state.uncompared || writers.mayHaveChanged(now.information)
      guard state.known == now || !isClients else { return .unclear }
      // Whoever began to write meanwhile has a lock now.
      if isQuiet, !isBeingWritten { return .damaged(damage) }
      return state.known == now ? .doubtful(damage) : .unclear
    }
  }

  /// Whether no client can be writing the write-ahead log.
  private var isLogAtRest: Bool {
    !sharedMemoryLocks.isLocked(WALLock.write) && !isKeptByOne
  }

  /// Whether a client has a rollback-journal transaction under way, or keeps its lock after one.
  private var isBeingWritten: Bool {
    mainLocks.isLocked(MainLock.reserved, .write) || mainLocks.isLocked(MainLock.pending, .write)
      || mainLocks.isLocked(MainLock.shared, .write)
  }

  /// The difference between a page and its entry in the table, if there is one.
  private func difference(
    at page: PageNumber,
    in state: inout DatabaseState
  ) throws(StoreError) -> DamagedPage? {
    guard isScrubbable(state), let size = state.pageSize,
      let expected = state.checksums?[page], expected != .none
    else { return nil }
    var buffer = [UInt8](repeating: 0, count: size.bytes)
    let found = try storedChecksum(of: page, size, &buffer, in: &state)
    return found == expected ? nil : DamagedPage(expected: expected, found: found)
  }

  /// Forgets the checksum of a page of a replica that is damaged, so that a repair fetches it.
  ///
  /// - Returns: whether it still was.
  func forgetDamaged(_ page: PageNumber, _ damage: DamagedPage) throws(StoreError) -> Bool {
    try state.withLock { state throws(StoreError) in
      guard try difference(at: page, in: &state) == damage else { return false }
      state.checksums?.set(page, .none)
      return true
    }
  }
}
