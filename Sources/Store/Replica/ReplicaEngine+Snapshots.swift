package import LTX
import Logging
import Synchronization

extension ReplicaEngine {
  package func snapshotChecksums(of database: String) throws(StoreError) -> [Checksum] {
    // What was being applied when the repair began ends first: the pages that the primary does not send
    // are those that have these checksums now, so nothing else may change them any more.
    let (size, own) = try applier(database).alone {
      () throws(StoreError) -> (PageSize?, [UInt64]) in
      guard let known = store.database(database) else { return (nil, []) }
      return try known.state.withLock { state throws(StoreError) in
        (state.pageSize, try known.presentChecksums(&state))
      }
    }
    let staging = try staging(database, pageSize: nil)
    var values = own.map { Checksum(rawValue: $0) }
    guard let staging else { return values }
    if staging.pageSize != size { values = [] }
    // A page number may be what a crash left of the file. One far past all others is not believed:
    // the primary then sends that page again.
    let limit = 2 * (values.count + staging.checksums.count) + 1024
    let pages = staging.checksums.filter { $0.key > 0 && Int($0.key) <= limit }
    let count = max(values.count, Int(pages.keys.max() ?? 0))
    values += Array(repeating: .none, count: count - values.count)
    for (page, checksum) in pages { values[Int(page) - 1] = checksum }
    return values
  }

  /// The snapshot of a database that is arriving, from memory or from what a restart left.
  private func staging(
    _ database: String,
    pageSize: PageSize?
  ) throws(StoreError) -> SnapshotStaging? {
    if let known = state.withLock({ $0.staged[database] }),
      pageSize == nil || known.pageSize == pageSize
    {
      return known
    }
    let opened = try SnapshotStaging.open(store, database, pageSize: pageSize)
    state.withLock { $0.staged[database] = opened }
    return opened
  }

  package func beginSnapshot(_ begin: SnapshotBegin) throws(StoreError) {
    guard let size = PageSize(bytes: Int(begin.pageSize)) else {
      throw StoreError(.corrupt, "a snapshot of \(begin.database) has an impossible page size")
    }
    guard var staging = try staging(begin.database, pageSize: size) else { return }
    staging.begin = begin.index
    staging.pages = nil
    let fresh = staging
    state.withLock { $0.staged[begin.database] = fresh }
  }

  package func addSnapshot(
    _ database: String,
    _ pages: [SnapshotPage]
  ) throws(StoreError) {
    // Taken out while it is changed, so that its tables are not copied for every frame.
    guard var staging = state.withLock({ $0.staged.removeValue(forKey: database) }),
      staging.begin != nil
    else {
      throw StoreError(.corrupt, "pages of \(database) arrived without the beginning of a snapshot")
    }
    defer {
      let back = staging
      state.withLock { $0.staged[database] = back }
    }
    try staging.add(pages)
  }

  package func dropUnknown(_ database: String) throws(StoreError) {
    try applier(database).alone { () throws(StoreError) in
      guard let known = store.database(database) else { return }
      if known.published.position.txid > .zero {
        try setAside(known)
      } else {
        try store.forget(known)
      }
    }
    applier(database).forgetQueue()
    try repaired(database)
  }

  package func endSnapshot(_ database: String, _ end: SnapshotEnd) throws(StoreError) {
    guard var staging = state.withLock({ $0.staged.removeValue(forKey: database) }),
      let begin = staging.begin
    else {
      throw StoreError(
        .corrupt,
        "the end of a snapshot of \(database) arrived without its beginning"
      )
    }
    try staging.overlay(database, from: store.log, after: begin, through: end.index)
    staging.cut(to: end.pages)
    let known = store.makeDatabase(database, madeBy: end.index)
    do throws(StoreError) {
      try applier(database).alone { () throws(StoreError) in
        try store.install(known, staging, end)
      }
    } catch {
      // What was collected does not add up; the next attempt starts from nothing.
      try store.context.disk.remove(staging.path)
      throw error
    }
    try store.context.disk.remove(staging.path)
    try repaired(database, to: end.index)
    store.tellCommitted(known)
  }
}

extension Store {
  /// Makes a database what a snapshot says, as one transaction of which readers see all or nothing.
  func install(
    _ database: Database,
    _ staging: SnapshotStaging,
    _ end: SnapshotEnd
  ) throws(StoreError) {
    try ensureMainFile(database)
    let inWAL = database.state.withLock { state in
      database.isInWALMode(state) && state.pageSize == staging.pageSize && end.pages > 0
    }
    if inWAL {
      try database.state.withLock { state throws(StoreError) in
        let table = try database.verified(staging, end, state)
        try database.installToWAL(staging, end, table, in: &state)
      }
    } else {
      database.lockExclusive()
      // While the file is half of one state and half of another, nobody may look at it.
      defer { if !database.isTorn { database.unlockExclusive() } }
      try database.state.withLock { state throws(StoreError) in
        let table = try database.verified(staging, end, state)
        if database.isInWALMode(state) { try database.leaveWALMode(in: &state) }
        try database.installToMain(staging, end, table, in: &state)
        try database.enterWALModeIfSaid(in: &state)
      }
    }
    if inWAL {
      // As far as readers allow; otherwise it stays on the list of repairs until they do.
      try log.syncAndWait(through: min(end.index, log.last.index))
      _ = try database.state.withLock { state throws(StoreError) in
        try database.checkpoint(in: &state)
      }
    }
    try database.flush(log: log, disk: context.disk, directory: context.stateDirectory)
    context.logger.info(
      "a database was fetched from the primary",
      metadata: [
        "database": "\(database.name)", "position": "\(end.position)",
        "pages": "\(staging.offsets.count)",
      ]
    )
  }
}

extension Database {
  /// The page checksums after a snapshot, which must add up to the position it promises.
  func verified(
    _ staging: SnapshotStaging,
    _ end: SnapshotEnd,
    _ state: DatabaseState
  ) throws(StoreError) -> PageChecksums {
    let own = state.pageSize == staging.pageSize ? state.checksums : nil
    // Every page has come or is here already; only that of the lock bytes never is.
    guard Int(end.pages) <= staging.checksums.count + (own?.count ?? 0) + 1 else {
      throw StoreError(
        .diverged,
        "the snapshot of \(name) lacks pages of the \(end.pages) it should have; it is fetched again"
      )
    }
    var table = PageChecksums(pageSize: staging.pageSize)
    table.resize(to: Int(end.pages))
    if end.pages > 0 {
      for number in 1...end.pages {
        let page = PageNumber(number)
        guard page != staging.pageSize.lockPage else { continue }
        if let checksum = staging.checksums[number] ?? own?[page] { table.set(page, checksum) }
      }
    }
    guard table.total == end.position.checksum else {
      throw StoreError(
        .diverged,
        "the snapshot of \(name) does not add up to position \(end.position); it is fetched again"
      )
    }
    table.markAllDirty()
    return table
  }

  func installToMain(
    _ staging: SnapshotStaging,
    _ end: SnapshotEnd,
    _ table: PageChecksums,
    in state: inout DatabaseState
  ) throws(StoreError) {
    try undoAbandoned(in: &state)
    let main = try mainFile(&state)
    do throws(StoreError) {
      if state.pageSize != staging.pageSize { try main.truncate(to: 0) }
      for (page, _) in staging.offsets.sorted(by: { $0.key < $1.key }) {
        try main.writeAll(
          try staging.content(page),
          at: PageNumber(page).offset(staging.pageSize)
        )
      }
      try main.truncate(to: Int64(end.pages) * Int64(staging.pageSize.bytes))
    } catch {
      tear(staging.offsets.keys.map { PageNumber($0) }, staging.pageSize, error, in: &state)
      throw error
    }
    adopt(staging, end, table, in: &state)
    state.backfilled = end.index
    state.known = try main.known()
    let header = try DatabaseHeader.read(main)
    publish(
      state,
      isWAL: header?.readVersion == 2,
      milliseconds: context.clock.milliseconds
    )
  }

  func installToWAL(
    _ staging: SnapshotStaging,
    _ end: SnapshotEnd,
    _ table: PageChecksums,
    in state: inout DatabaseState
  ) throws(StoreError) {
    guard let file = state.walFile, let index = state.index, let header = state.wal.header else {
      throw StoreError(.invalid, "the write-ahead log of database \(name) is not open")
    }
    let first = state.wal.frames
    var appender = FrameAppender(
      file: file,
      header: header,
      offset: state.wal.captured,
      sum: state.wal.lastSum
    )
    let own = state.checksums
    let pages = staging.checksums.filter { $0.value != own?[PageNumber($0.key)] }.keys.sorted()
    for page in pages.isEmpty ? [1] : pages {
      var content = try staging.content(page)
      if content.isEmpty {
        content = [UInt8](repeating: 0, count: staging.pageSize.bytes)
        try content.withPage(staging.pageSize) { buffer throws(StoreError) in
          try readCommitted(PageNumber(page), into: buffer, in: &state)
        }
      }
      let commit = page == pages.last || pages.isEmpty ? end.pages : 0
      try content.withPage(staging.pageSize) { buffer throws(StoreError) in
        try appender.append(page, commit: commit, UnsafeRawBufferPointer(buffer))
      }
    }
    try appender.flush()
    try publishFrames(appender, after: first, pages: end.pages, header, index, in: &state)
    adopt(staging, end, table, in: &state)
    publish(state, isWAL: true, milliseconds: context.clock.milliseconds)
  }

  private func adopt(
    _ staging: SnapshotStaging,
    _ end: SnapshotEnd,
    _ table: PageChecksums,
    in state: inout DatabaseState
  ) {
    state.checksums = table
    state.pageSize = staging.pageSize
    state.position = end.position
    state.entry = end.index
    state.failed = nil
    // What was stable was another history's, or none that leads here.
    let before = LogIndex(end.index.rawValue &- 1)
    state.history += 1
    state.stable = min(state.stable, before)
    state.backfilled = min(state.backfilled, before)
  }

  /// Takes the EXCLUSIVE lock for the daemon, however long readers keep it waiting.
  func lockExclusive() {
    for range in [MainLock.pending, MainLock.shared] {
      let gate = Gate()
      mainLocks.set(
        LockRequest(owner: .daemon, kind: .write, range: range),
        wait: true
      ) { _ in gate.open() }
      gate.wait()
    }
  }
}
