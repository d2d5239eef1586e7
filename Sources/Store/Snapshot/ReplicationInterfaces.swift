package import LTX

/// Entries of the log in their encoded form, one after the other without a gap.
package struct LogBatch: Sendable {
  package var first: LogIndex
  package var last: LogIndex
  /// The encoded entries; each carries its own length, identity and checksum.
  package var bytes: [UInt8]
  /// The last entry that the sender knows to be committed; it may lie before or behind these.
  package var commit: LogIndex

  package init(first: LogIndex, last: LogIndex, bytes: [UInt8], commit: LogIndex = .zero) {
    self.first = first
    self.last = last
    self.bytes = bytes
    self.commit = commit
  }
}

/// Where a term begins in a log. The list of them, in order, tells where two logs part.
package struct TermStart: Hashable, Sendable {
  package var term: Term
  package var first: LogIndex

  package init(term: Term, first: LogIndex) {
    self.term = term
    self.first = first
  }
}

/// What a log holds, as a peer needs it to find the last entry both have.
package struct LogSummary: Hashable, Sendable {
  /// The first entry still held; one past `last` when the log is empty.
  package var first: LogIndex
  package var last: EntryID
  /// In order; the first element may begin before `first`.
  package var terms: [TermStart]

  package init(first: LogIndex, last: EntryID, terms: [TermStart]) {
    self.first = first
    self.last = last
    self.terms = terms
  }
}

/// One database as its owner reports it.
package struct DatabaseSummary: Hashable, Sendable {
  package var name: String
  package var position: Position
  package var pageSize: UInt32
  package var pages: UInt32

  package init(name: String, position: Position, pageSize: UInt32, pages: UInt32) {
    self.name = name
    self.position = position
    self.pageSize = pageSize
    self.pages = pages
  }
}

/// The primary's side of replication: the log, and pages for replicas the log cannot help.
///
/// `recent`, `acknowledged`, `isAwaited` and `lender` never block and may be called on an event
/// loop; all other methods may read the disk and belong on a thread that may block.
package protocol ReplicationSource: AnyObject, Sendable {
  func logSummary() -> LogSummary
  func databases() -> [DatabaseSummary]

  /// Where the log of a replica that begins anew begins: with the last entry that nobody will cut.
  var committedEntry: EntryID { get }

  /// Whether this node has all its databases. One that lacks some only gives its log to others.
  var isWhole: Bool { get }

  /// Entries from `first` on that are still in memory; nil when they must be read from disk, an
  /// empty batch (`last < first`) when there are none yet.
  func recent(from first: LogIndex, maxBytes: Int) -> LogBatch?
  /// The same from disk. At least one entry is returned however long it is.
  ///
  /// - Throws: `.notFound` when retention has removed `first`.
  func read(from first: LogIndex, maxBytes: Int) throws(StoreError) -> LogBatch

  /// Calls `wake` (cheap, any thread) after each append and each advance of the commit index; ends when the
  /// token is released.
  func onAppend(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken

  /// Whether commits wait for replicas, so that a replica is to be told of an entry at once.
  var isAwaited: Bool { get }
  /// A replica has everything up to an entry on stable storage. Must not block.
  func acknowledged(by node: String, through index: LogIndex)

  /// A replica is about to be told where this log ends: what it had sent before comes to the log no more.
  func endLending(to node: String)

  /// The grants of one connection of a replica. Must not block; `answer` may be called on any
  /// thread, and does not block either.
  func lender(
    to node: String,
    answer: @escaping @Sendable (GrantAnswer) -> Void
  ) -> any GrantLender

  /// Tells retention how far a replica is; nil forgets the replica.
  func noteReplica(_ node: String, needs index: LogIndex?)

  /// Begins to read the pages of a database that differ from what the replica has.
  ///
  /// - Parameter checksums: the replica's page checksums from page 1 on; empty for none.
  func openSnapshot(
    of database: String,
    checksums: [Checksum]
  ) throws(StoreError) -> any SnapshotSource
}

/// Pages of one database while it is being written: consistent once the log entries in
/// `(begin.index, end.index]` have been applied over them.
package protocol SnapshotSource: AnyObject, Sendable {
  var begin: SnapshotBegin { get }
  /// The next pages, together at most `maxBytes` (at least one); nil after the last.
  func next(maxBytes: Int) throws(StoreError) -> [SnapshotPage]?
  /// To be called once `next` has returned nil.
  func end() throws(StoreError) -> SnapshotEnd
}

package struct SnapshotBegin: Hashable, Sendable {
  package var database: String
  /// Entries up to this one need not be applied over the pages.
  package var index: LogIndex
  package var pageSize: UInt32
  /// The number of pages when the snapshot began, for progress.
  package var pages: UInt32
  /// How many of them differ from the replica's, for progress.
  package var differing: UInt32

  package init(
    database: String,
    index: LogIndex,
    pageSize: UInt32,
    pages: UInt32,
    differing: UInt32
  ) {
    self.database = database
    self.index = index
    self.pageSize = pageSize
    self.pages = pages
    self.differing = differing
  }
}

package struct SnapshotPage: Hashable, Sendable {
  package var number: PageNumber
  package var bytes: [UInt8]

  package init(number: PageNumber, bytes: [UInt8]) {
    self.number = number
    self.bytes = bytes
  }
}

package struct SnapshotEnd: Hashable, Sendable {
  /// The state described: after this entry the database stood at `position`.
  package var index: LogIndex
  package var position: Position
  package var pages: UInt32

  package init(index: LogIndex, position: Position, pages: UInt32) {
    self.index = index
    self.position = position
    self.pages = pages
  }
}

/// The replica's side: takes entries in order and applies them in the background.
///
/// All methods may block and belong on a thread that may, but for `connected`, `received` and
/// `disconnected`: these come in this order on an event loop, for one connection after the other.
package protocol ReplicationSink: AnyObject, Sendable {
  func logSummary() -> LogSummary

  /// Cuts the log after `common`, the last entry shared with the primary. What is cut moves to
  /// `quarantine/`; the databases it touched are then listed by `databasesToRepair`.
  func truncate(after common: LogIndex) throws(StoreError)
  /// Empties the log: the next entry will be the one after `base`, and every database the
  /// primary names is to be repaired. Databases the primary does not have move to `quarantine/`.
  func reset(to base: EntryID, databases: [DatabaseSummary]) throws(StoreError)
  /// Databases whose pages must be fetched before entries can be applied to them.
  func databasesToRepair() -> [String]

  /// Checks and appends entries; they are applied in the background.
  func append(_ batch: LogBatch) throws(StoreError)
  /// Whether the primary waits until entries are on stable storage here.
  var isAwaited: Bool { get }
  /// Last entry on stable storage, and last applied to every database.
  func progress() -> ReplicaProgress
  /// Calls `wake` after progress, or when a database came to need repair.
  func onProgress(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken

  /// The checksums of the pages at hand, from page 1 on: of the database, or of a snapshot that an
  /// earlier connection left unfinished.
  func snapshotChecksums(of database: String) throws(StoreError) -> [Checksum]
  func beginSnapshot(_ begin: SnapshotBegin) throws(StoreError)
  func addSnapshot(_ database: String, _ pages: [SnapshotPage]) throws(StoreError)
  /// Installs the database, verified against the position.
  func endSnapshot(_ database: String, _ end: SnapshotEnd) throws(StoreError)
  /// The primary has no database of this name, as when only cut entries created it: what this
  /// node holds of it moves to `quarantine/`, and it no longer waits for repair.
  func dropUnknown(_ database: String) throws(StoreError)

  /// The primary can be asked for grants, until `disconnected`. `send` may be called on any thread
  /// and does not block; what is sent after the end of the connection is forgotten.
  ///
  /// Must not block.
  ///
  /// - Parameter last: the primary's last entry at its welcome.
  func connected(through last: LogIndex, send: @escaping @Sendable (GrantRequest) -> Void)
  /// What the primary says. Must not block.
  func received(_ answer: GrantAnswer)
  /// The connection is gone, and with it its grants. Must not block. Once after each `connected`.
  func disconnected()
}

extension ReplicationSink {
  package func connected(
    through last: LogIndex,
    send: @escaping @Sendable (GrantRequest) -> Void
  ) {}
  package func received(_ answer: GrantAnswer) {}
  package func disconnected() {}

  package func dropUnknown(_ database: String) throws(StoreError) {
    throw StoreError(.unsupported, "\(database) cannot be removed: the primary does not have it.")
  }
}

package struct ReplicaProgress: Hashable, Sendable {
  /// The last entry received and written, not necessarily durable.
  package var received: LogIndex
  package var durable: LogIndex
  package var applied: LogIndex
  /// Databases that wait for pages from the primary.
  package var repairing: Int

  package init(received: LogIndex, durable: LogIndex, applied: LogIndex, repairing: Int) {
    self.received = received
    self.durable = durable
    self.applied = applied
    self.repairing = repairing
  }
}

/// Ends a subscription when the last reference goes.
package final class SubscriptionToken: Sendable {
  private let end: @Sendable () -> Void
  package init(_ end: @escaping @Sendable () -> Void) { self.end = end }
  deinit { end() }
}
