import LTX
import Logging
import Synchronization

/// Reads all databases of a store, page by page and again and again, and compares them with the
/// table of page checksums.
///
/// A damaged page of a replica is fetched from the primary anew. On the primary it is reported, and
/// kept out of what is replicated (`Database+Damage`).
package final class Scrubber: Sendable {
  /// Pages that could not be judged are remembered up to this number; the rest is met again in the
  /// next pass.
  static let maximumOpen = 1024

  /// How far it is.
  package struct Progress: Sendable, Equatable {
    /// The database that is being read, nil between two passes.
    package var database: String?
    /// Pages of it that have been read, and that it has.
    package var done: UInt32 = 0
    package var pages: UInt32 = 0
    /// Since the start of the node.
    package var scrubbedPages: UInt64 = 0
    package var scrubbedBytes: UInt64 = 0
    package var passes: UInt64 = 0
    /// Pages found damaged, also those that were mended since.
    package var damagedPages: UInt64 = 0
    /// Milliseconds since the epoch at the end of the last complete pass.
    package var lastPass: UInt64?
  }

  private struct OpenPage {
    var database: Database
    var page: PageNumber
    /// What it was at the last look, if that can be damage.
    var doubt: DamagedPage?
  }

  private struct State {
    var progress = Progress()
    /// The database being read.
    var current: Database?
    /// The last database that was begun in this pass.
    var reached: String?
    /// Milliseconds since the epoch at which the pass began; nil before the first.
    var began: UInt64?
    var isInPass = false
    var open: [OpenPage] = []
  }

  private let store: Store
  private let interval: UInt64
  private let state = Mutex(State())

  /// - Parameter interval: milliseconds from the beginning of one pass to that of the next.
  package init(store: Store, interval: UInt64) {
    self.store = store
    self.interval = interval
  }

  package var progress: Progress {
    var progress = state.withLock { $0.progress }
    progress.damagedPages = UInt64(store.context.damageFound.load(ordering: .relaxed))
    return progress
  }

  private var isFollowing: Bool { store.role != .primary }

  /// Reads the next pages. Blocks on the disk; one at a time.
  ///
  /// - Returns: bytes read; zero when there is nothing to read before the next pass.
  package func step(maxBytes: Int) throws(StoreError) -> Int {
    while let (database, first) = next() {
      guard !isRepairing(database),
        let batch = try database.scrub(from: first, maxBytes: maxBytes), batch.pages > 0
      else {
        finish(database)
        continue
      }
      try take(batch, from: first, of: database)
      return max(1, batch.bytes)
    }
    return 0
  }

  private func take(
    _ batch: Database.ScrubBatch,
    from first: UInt32,
    of database: Database
  ) throws(StoreError) {
    state.withLock { state in
      state.progress.done = first - 1 + batch.pages
      state.progress.pages = batch.of
      state.progress.scrubbedPages += UInt64(batch.pages)
      state.progress.scrubbedBytes += UInt64(batch.bytes)
    }
    for page in batch.differing { try judge(page, of: database, after: nil) }
    if first - 1 + batch.pages >= batch.of { finish(database) }
  }

  /// Looks again at what could not be judged and at what is known to be damaged. Blocks; to be
  /// called every few seconds.
  package func settle() throws(StoreError) {
    let open = state.withLock { state in
      defer { state.open = [] }
      return state.open
    }
    for page in open { try judge(page.page, of: page.database, after: page.doubt) }
    for database in store.allDatabases {
      try database.state.withLock { state throws(StoreError) in
        try database.settleDamage(in: &state)
      }
    }
  }

  // MARK: Passes

  /// The database and the page to go on with.
  private func next() -> (Database, UInt32)? {
    let (running, isInPass) = state.withLock { state in
      (state.current.map { ($0, state.progress.done + 1) }, state.isInPass)
    }
    if let running { return running }
    let all = store.allDatabases
    let now = store.context.clock.milliseconds
    let isDoubted =
      !isInPass && all.contains { database in database.state.withLock { $0.isDoubted } }
    return state.withLock { state in
      if !state.isInPass {
        guard isDoubted || state.began.map({ now &- $0 >= interval }) ?? true else { return nil }
        state.isInPass = true
        state.began = now
        state.reached = nil
      }
      guard let database = all.first(where: { $0.name > state.reached ?? "" }) else {
        state.isInPass = false
        state.progress.passes += 1
        state.progress.lastPass = now
        return nil
      }
      state.current = database
      state.reached = database.name
      state.progress.database = database.name
      state.progress.done = 0
      state.progress.pages = database.published.pages
      return (database, 1)
    }
  }

  private func finish(_ database: Database) {
    state.withLock { state in
      state.current = nil
      state.progress.database = nil
      state.progress.done = 0
      state.progress.pages = 0
    }
  }

  /// Whether it is to be left alone at the moment: also while it is written on another node than usual, since whose
  /// pages are then where cannot be told by the role.
  private func isRepairing(_ database: Database) -> Bool {
    if database.isLent.load(ordering: .acquiring) || database.isBorrowed.load(ordering: .acquiring)
    {
      return true
    }
    return store.state.withLock { $0.engine }?.needsRepair(database.name) ?? false
  }

  // MARK: Damage

  private func judge(
    _ page: PageNumber,
    of database: Database,
    after doubt: DamagedPage?
  ) throws(StoreError) {
    guard !isRepairing(database) else { return }
    if isFollowing, database.state.withLock({ $0.checksums?[page] == Checksum.none }) {
      // Forgotten, and then the repair could not be noted.
      try store.state.withLock({ $0.engine })?.markForRepair([database.name])
      return
    }
    switch try database.verdict(on: page, isFollowing: isFollowing) {
    case .sound: return
    case .damaged(let damage): try store.report(damage, at: page, of: database)
    case .doubtful(let damage) where damage == doubt:
      try store.report(damage, at: page, of: database)
    case .doubtful(let damage): remember(OpenPage(database: database, page: page, doubt: damage))
    case .unclear: remember(OpenPage(database: database, page: page))
    }
  }

  private func remember(_ page: OpenPage) {
    state.withLock { state in
      if state.open.count < Self.maximumOpen { state.open.append(page) }
    }
  }
}

extension Store {
  /// Does what is to be done about a damaged page.
  func report(
    _ damage: DamagedPage,
    at page: PageNumber,
    of database: Database
  ) throws(StoreError) {
    guard role != .primary else {
      return database.state.withLock { database.noteDamage(page, damage, in: &$0) }
    }
    guard let engine = state.withLock({ $0.engine }) else { return }
    // First the checksum: a repair that began before it was forgotten would not fetch the page.
    guard try database.forgetDamaged(page, damage) else { return }
    context.damageFound.add(1, ordering: .relaxed)
    context.logger.error(
      "a page of a database is not what was committed; it is fetched from the primary",
      metadata: [
        "database": "\(database.name)", "page": "\(page)", "expected": "\(damage.expected)",
        "found": "\(damage.found)",
      ]
    )
    try engine.markForRepair([database.name])
  }
}
