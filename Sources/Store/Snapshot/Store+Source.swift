package import LTX
import Synchronization

extension Store: ReplicationSource {
  package func logSummary() -> LogSummary { log.summary() }

  package func databases() -> [DatabaseSummary] {
    allDatabases.compactMap { database in
      let published = database.published
      guard published.position.txid > .zero, let size = published.pageSize else { return nil }
      return DatabaseSummary(
        name: published.name,
        position: published.position,
        pageSize: UInt32(size.bytes),
        pages: published.pages
      )
    }
  }

  package func recent(from first: LogIndex, maxBytes: Int) -> LogBatch? {
    log.recent(from: first, maxBytes: maxBytes).map(log.stamped)
  }

  package func read(from first: LogIndex, maxBytes: Int) throws(StoreError) -> LogBatch {
    log.stamped(try log.read(from: first, maxBytes: maxBytes))
  }

  package func onAppend(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let (appends, commits) = (log.onAppend(wake), log.commits.onAdvance(wake))
    return SubscriptionToken { withExtendedLifetime((appends, commits)) {} }
  }

  package var isAwaited: Bool { log.needsMajority }

  package var committedEntry: EntryID { log.committedEntry }

  package var isWhole: Bool { state.withLock { $0.engine }?.isWhole ?? true }

  package func acknowledged(by node: String, through index: LogIndex) {
    log.acknowledged(by: node, through: index)
  }

  package func noteReplica(_ node: String, needs index: LogIndex?) {
    state.withLock { $0.replicas[node] = index }
  }

  package func openSnapshot(
    of database: String,
    checksums: [Checksum]
  ) throws(StoreError) -> any SnapshotSource {
    guard !state.withLock({ $0.isOpening }) else {
      throw StoreError(.busy, "this node is about to be the primary; ask again in a moment")
    }
    guard let found = self.database(database) else {
      throw StoreError(.notFound, "this node has no database \(database)")
    }
    return try SnapshotReader(found, in: self, theirs: checksums)
  }
}
