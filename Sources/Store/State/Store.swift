import LTX
import Logging
import Synchronization

/// The databases of one node: the tree the mount shows, the log, and what is known of each.
package final class Store: Sendable {
  /// What this node may do with databases.
  package enum Role: Sendable, Equatable {
    /// Neither: databases can be read and not written.
    case undecided
    case primary
    case replica
  }

  struct State {
    var databases: [String: Database] = [:]
    var nextKey: UInt64 = 1
    var role = Role.undecided
    /// Whether a term of this node's has begun in which clients cannot write yet: not all that the log holds may
    /// have been applied.
    var isOpening = false
    var observers: [UInt64: @Sendable (StoreEvent) -> Void] = [:]
    var nextObserver: UInt64 = 0
    /// How far each replica has come, for retention.
    var replicas: [String: LogIndex] = [:]
    /// What `.primary` and `.lag` say.
    var standing: @Sendable () -> Standing = { Standing() }
    /// On a replica, what applies the log.
    weak var engine: ReplicaEngine?
    /// On a primary, which databases replicas write.
    var lending: Lending?
    /// What was noted last of the log.
    var savedRedo: RedoPoint?
  }

  /// What a replica knows of its primary.
  package struct Standing: Sendable, Equatable {
    /// The primary's host name, on a replica that is connected to it.
    package var primary: String?
    /// How far this node is behind, in milliseconds; nil before it has caught up once.
    package var lagMilliseconds: Int64?
    /// Milliseconds since the epoch of the primary's last word.
    package var heard: UInt64

    package init(primary: String? = nil, lagMilliseconds: Int64? = 0, heard: UInt64 = 0) {
      self.primary = primary
      self.lagMilliseconds = lagMilliseconds
      self.heard = heard
    }
  }

  package let configuration: StoreConfiguration
  package let context: StoreContext
  /// The data directory as it was found, to notice when another is in its place.
  let identity: DiskFileInformation
  let state: Mutex<State>
  /// Whether clients may write their write-ahead logs by themselves while this node is the primary: only
  /// where those who outlive the node can be stopped.
  package let followsLogs: Bool
  /// Who is about to begin a transaction while the lease is handed over.
  let paused = PausedWriters()
  /// The connections of replicas that may ask for grants, by the names of the replicas.
  let lenders = Mutex<[String: Lender]>([:])
  /// For what may wait: fsyncs, large transactions, comparisons of whole databases.
  let workers = Workers()

  init(
    configuration: StoreConfiguration,
    context: StoreContext,
    identity: DiskFileInformation,
    state: State
  ) {
    self.configuration = configuration
    self.context = context
    followsLogs =
      configuration.followsLogs && context.disk.canStopWrites(context.stateDirectory)
    self.identity = identity
    self.state = Mutex(state)
  }

  package var log: Log { context.log }
  package var role: Role { state.withLock { $0.role } }

  /// Whether clients of this node may write the database: those of the primary, unless it is lent to a replica,
  /// and those of the replica that has it.
  func isWriter(of database: Database) -> Bool {
    role == .primary
      ? !database.isLent.load(ordering: .acquiring)
      : database.isBorrowed.load(ordering: .acquiring)
  }

  /// The same, also for one that is not there yet.
  func isWriter(of name: String) -> Bool {
    guard let database = database(name) else { return role == .primary }
    return isWriter(of: database)
  }

  package var allDatabases: [Database] {
    state.withLock { $0.databases.values.sorted { $0.name < $1.name } }
  }

  /// The database of that name, also one that has no transaction yet.
  package func database(_ name: String) -> Database? {
    state.withLock { $0.databases[name] }
  }

  /// The database of that name; a new one that begins to be watched where there is none.
  ///
  /// - Parameter first: the entry that makes it, on a node that follows a primary.
  func makeDatabase(_ name: String, madeBy first: LogIndex? = nil) -> Database {
    let (database, isNew) = state.withLock { state -> (Database, Bool) in
      if let known = state.databases[name] { return (known, false) }
      var fresh = DatabaseState()
      // Nothing of it can be in the log before this point, so redo need not look there.
      fresh.stable = first.map { LogIndex($0.rawValue &- 1) } ?? context.log.last.index
      fresh.backfilled = fresh.stable
      fresh.entry = fresh.stable
      let database = Database(key: state.nextKey, name: name, context: context, state: fresh)
      state.nextKey += 1
      state.databases[name] = database
      return (database, true)
    }
    if isNew { watch(database) }
    return database
  }

  /// Forgets a database whose files are gone, and removes what is remembered of it.
  func forget(_ database: Database) throws(StoreError) {
    if try database.releaseJournal() { try context.syncParent(of: database.name) }
    try removeRecord(of: database)
    detach(database)
  }

  /// Removes the files of a database whose drop is durable in the log.
  ///
  /// What is remembered of it goes first: a start that finds the record and not the file then knows
  /// that a rename did not come that far, and one that finds the file alone removes it.
  func erase(_ database: Database, suffixes: [String]) throws(StoreError) {
    database.state.withLock { $0.dropped = true }
    try removeRecord(of: database)
    for path in suffixes.map(database.path) where try context.disk.information(path) != nil {
      try context.disk.remove(path)
    }
    try database.releaseJournal()
    // Redo will not remove them again once housekeeping has gone past the entry.
    try context.syncParent(of: database.name)
    detach(database)
  }

  private func detach(_ database: Database) {
    let name = database.name
    state.withLock { $0.databases[name] = nil }
    database.state.withLock { state in
      state.dropped = true
      state.index = nil
      state.walFile = nil
      state.main = nil
    }
    context.locks.forget(name)
    context.locks.forget(name + "-shm")
  }

  private func removeRecord(of database: Database) throws(StoreError) {
    let directory = context.stateDirectory
    let disk = context.disk
    // A flush under way would write again what is removed here.
    let result: Result<Void, StoreError> = database.flushing.withLock { _ in
      do throws(StoreError) {
        for path in [
          DatabaseRecord.path(directory, database.key),
          DatabaseRecord.checksumPath(directory, database.key),
        ] where try disk.information(path) != nil {
          try disk.remove(path)
        }
        return .success(())
      } catch { return .failure(error) }
    }
    try result.get()
    try context.disk.syncDirectory(directory)
  }

  // MARK: Events

  /// Calls `body` for every event, on the thread that caused it; it must be quick.
  package func observe(_ body: @escaping @Sendable (StoreEvent) -> Void) -> SubscriptionToken {
    let key = state.withLock { state in
      state.nextObserver += 1
      state.observers[state.nextObserver] = body
      return state.nextObserver
    }
    return SubscriptionToken { [weak self] in
      self?.state.withLock { $0.observers[key] = nil }
    }
  }

  func tell(_ event: StoreEvent) {
    for observer in state.withLock({ Array($0.observers.values) }) { observer(event) }
  }

  func tellCommitted(_ database: Database) {
    guard state.withLock({ !$0.observers.isEmpty }) else { return }
    tell(.committed(database.published))
  }

  // MARK: Standing

  package var standing: Standing { state.withLock { $0.standing }() }

  /// Says where `.primary` and `.lag` get their content from; `provide` must be quick.
  package func setStanding(_ provide: @escaping @Sendable () -> Standing) {
    state.withLock { $0.standing = provide }
  }
}

/// Something others want to hear about.
package enum StoreEvent: Sendable {
  /// A transaction was committed here or applied here.
  case committed(Database.Published)
  case dropped(name: String)
}
