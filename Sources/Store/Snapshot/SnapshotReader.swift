import LTX
import Synchronization

// A snapshot without stopping writers: pages are read one after the other while transactions go on, and
// the receiver then applies the log from where the reading began. A page that changed in between is in that
// log as a whole, so it does not matter which version was read. What must not be read is a page
// that a transaction has written and not committed; its checksum tells.

/// Reads the pages of a database in which it differs from a replica's.
final class SnapshotReader: SnapshotSource {
  /// Pages read under one hold of the database's lock: some 100 µs.
  private static let batch = 32

  private struct State {
    /// Pages to be sent and the checksum they had at the beginning, and how many are done.
    var pages: [PageChange]
    var next = 0
    /// Pages that an unfinished transaction had overwritten when they were looked at.
    var retry: [PageChange] = []
  }

  let begin: SnapshotBegin
  private let store: Store
  private let database: Database
  private let size: PageSize
  private let state: Mutex<State>

  init(_ database: Database, in store: Store, theirs: [Checksum]) throws(StoreError) {
    self.store = store
    self.database = database
    let found = database.state.withLock { state -> (PageSize, [PageChange], LogIndex, UInt32)? in
      guard let size = state.pageSize, let checksums = state.checksums else { return nil }
      var pages: [PageChange] = []
      for number in 0..<checksums.count {
        let page = PageNumber(UInt32(number) + 1)
        guard let checksum = checksums[page] else { continue }
        if number < theirs.count, theirs[number] == checksum { continue }
        pages.append(PageChange(page: page, checksum: checksum))
      }
      return (size, pages, store.lastEntry(of: state, database), state.pages)
    }
    guard let (size, pages, index, count) = found else {
      throw StoreError(.notFound, "database \(database.name) has no content")
    }
    self.size = size
    begin = SnapshotBegin(
      database: database.name,
      index: index,
      pageSize: UInt32(size.bytes),
      pages: count,
      differing: UInt32(clamping: pages.count)
    )
    state = Mutex(State(pages: pages))
  }

  func next(maxBytes: Int) throws(StoreError) -> [SnapshotPage]? {
    while true {
      let output = try step(maxBytes)
      if !output.isEmpty { return output }
      // Whatever was looked at has changed, so that the log has it.
      if state.withLock({ $0.next >= $0.pages.count && $0.retry.isEmpty }) { return nil }
    }
  }

  private func step(_ maxBytes: Int) throws(StoreError) -> [SnapshotPage] {
    var output: [SnapshotPage] = []
    var room = max(1, maxBytes / size.bytes)
    while room > 0 {
      let wanted = state.withLock { state -> [PageChange] in
        let end = min(state.next + min(room, Self.batch), state.pages.count)
        defer { state.next = end }
        return Array(state.pages[state.next..<end])
      }
      guard !wanted.isEmpty else { break }
      let (read, missed) = try readPages(wanted)
      output.append(contentsOf: read)
      if !missed.isEmpty { state.withLock { $0.retry.append(contentsOf: missed) } }
      room -= wanted.count
    }
    return output.isEmpty ? try readMissed() : output
  }

  /// Reads pages as they are committed now; those that changed since the beginning are left out,
  /// for the log has them.
  private func readPages(
    _ wanted: [PageChange]
  ) throws(StoreError) -> (read: [SnapshotPage], missed: [PageChange]) {
    let size = size
    let database = database
    return try database.state.withLock {
      state throws(StoreError) -> (read: [SnapshotPage], missed: [PageChange]) in
      var read: [SnapshotPage] = []
      var missed: [PageChange] = []
      for want in wanted where state.checksums?[want.page] == want.checksum {
        var bytes = [UInt8](repeating: 0, count: size.bytes)
        var actual = Checksum.none
        try bytes.withPage(size) { buffer throws(StoreError) in
          try database.readCommitted(want.page, into: buffer, in: &state)
          actual = Checksum.page(want.page, UnsafeRawBufferPointer(buffer))
        }
        if actual == want.checksum {
          read.append(SnapshotPage(number: want.page, bytes: bytes))
        } else {
          missed.append(want)
        }
      }
      return (read, missed)
    }
  }

  /// Reads what was missed once more, as a reader whom no writer can disturb.
  private func readMissed() throws(StoreError) -> [SnapshotPage] {
    let wanted = state.withLock { state -> [PageChange] in
      defer { state.retry = [] }
      return state.retry
    }
    guard !wanted.isEmpty else { return [] }
    var result: Result<(read: [SnapshotPage], missed: [PageChange]), StoreError> = .success(
      ([], [])
    )
    database.withSharedLock {
      do throws(StoreError) { result = .success(try readPages(wanted)) } catch {
        result = .failure(error)
      }
    }
    let (read, missed) = try result.get()
    guard let damaged = missed.first else { return read }
    try report(missed)
    throw StoreError(
      .corrupt,
      "page \(damaged.page) of database \(database.name) is not what was committed: the disk or a "
        + "program that ignores SQLite's locks has changed it; restore it from a replica or a backup"
    )
  }

  /// Says on this node, too, which pages are damaged.
  private func report(_ missed: [PageChange]) throws(StoreError) {
    let isFollowing = store.role != .primary
    for page in missed.map(\.page) {
      // A writer that came back meanwhile makes it unclear; the next attempt meets the page again.
      if case .damaged(let damage) = try database.verdict(on: page, isFollowing: isFollowing) {
        try store.report(damage, at: page, of: database)
      }
    }
  }

  func end() throws(StoreError) -> SnapshotEnd {
    let store = store
    let end = database.state.withLock { state in
      SnapshotEnd(
        index: store.lastEntry(of: state, database),
        position: state.position,
        pages: state.pages
      )
    }
    // What is in the pages and not committed nobody may see yet.
    guard store.log.needsMajority else { return end }
    if store.role == .primary {
      try store.log.confirmAndWait(through: end.index)
    } else if end.index > store.log.committed {
      throw StoreError(
        .busy,
        "it is not known yet whether the last transaction of database \(database.name) is committed; "
          + "try again"
      )
    }
    return end
  }
}

extension Store {
  /// The last entry that has been looked at for a database.
  ///
  /// On a replica entries may be in the log that are not applied yet.
  fileprivate func lastEntry(of state: DatabaseState, _ database: Database) -> LogIndex {
    role == .primary && isWriter(of: database)
      ? log.last.index : min(state.entry, log.last.index)
  }
}
