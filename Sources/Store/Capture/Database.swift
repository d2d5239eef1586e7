package import LTX
import Synchronization

/// One SQLite database of the tree: its files, its locks, and where it stands.
package final class Database: Sendable {
  /// What others may look at without waiting for a transaction under way.
  package struct Published: Sendable {
    package var name: String
    package var position: Position
    package var pageSize: PageSize?
    package var pages: UInt32
    package var isWAL: Bool
    /// Why nobody may look at it.
    package var failed: StoreError?
    /// Why it takes no transactions, or why nobody may look at it.
    package var problem: StoreError?
    /// Pages that the disk does not give back as they were committed, ascending.
    package var damaged: [PageNumber] = []
    /// Milliseconds since the epoch of the last transaction.
    package var milliseconds: UInt64
  }

  /// Names the files of this database's persistent state; never reused.
  let key: UInt64
  let context: StoreContext
  /// Locks on the main file, and on the shared-memory file.
  let mainLocks: FileLocks
  let sharedMemoryLocks: FileLocks
  let state: Mutex<DatabaseState>
  /// Held while the daemon reads under the SHARED lock of its own.
  let reading = Mutex(())
  /// The clients that may write into the main file.
  let writers: Writers
  /// Whether all of the rollback journal is on stable storage.
  let journal = JournalDurability()
  let journalPlaces = Mutex(JournalPlace.tree)
  /// Whether clients may write the write-ahead log by themselves, see `captureWritten`.
  let isFollowed = Atomic(false)
  /// Whether one has been opened since the last look: it may be another file.
  let logWasOpened = Atomic(false)
  /// Whether this node has ceased to be the primary while clients may have been writing it.
  let isLeaving = Atomic(false)
  /// Whether this node is the primary and has given the database to a replica to write.
  let isLent = Atomic(false)
  /// Whether this node is a replica and has been given the database to write.
  let isBorrowed = Atomic(false)
  /// The locks of `<db>-lock`, once a client has opened that.
  let grantLocks = Mutex<FileLocks?>(nil)
  /// What takes the transactions of a database that this node was given to write.
  let forwarding = Mutex<(any TransactionSink)?>(nil)
  /// When it was last lent, in milliseconds since the epoch; zero for never.
  let lentAt = Atomic<UInt64>(0)
  /// Held while the persistent state is written.
  let flushing = Mutex(())
  private let publication: Mutex<Published>

  init(
    key: UInt64,
    name: String,
    context: StoreContext,
    state: DatabaseState = DatabaseState(),
    writers: Writers = Writers()
  ) {
    self.key = key
    self.context = context
    self.writers = writers
    mainLocks = context.locks.table(for: name)
    sharedMemoryLocks = context.locks.table(for: name + "-shm")
    publication = Mutex(
      Published(
        name: name,
        position: state.position,
        pageSize: state.pageSize,
        pages: state.pages,
        isWAL: false,
        failed: nil,
        problem: nil,
        milliseconds: 0
      )
    )
    self.state = Mutex(state)
  }

  /// The path of one of the database's files on the disk.
  func path(_ suffix: String = "") -> String { context.tree + "/" + name + suffix }

  /// The main file, opened for the daemon's own reading and writing.
  func mainFile(_ state: inout DatabaseState) throws(StoreError) -> any DiskFile {
    if let main = state.main { return main }
    let main = try context.disk.open(path(), [.write])
    state.main = main
    return main
  }

  /// What turns pages into a transaction now.
  var recorder: TransactionRecorder {
    TransactionRecorder(
      sink: forwarding.withLock { $0 } ?? context.log,
      node: context.node,
      milliseconds: context.clock.milliseconds,
      name: name
    )
  }

  package var published: Published { publication.withLock { $0 } }
  package var name: String { publication.withLock { $0.name } }

  func publish(_ state: borrowing DatabaseState, isWAL: Bool? = nil, milliseconds: UInt64? = nil) {
    publication.withLock { published in
      published.position = state.position
      published.pageSize = state.pageSize
      published.pages = state.pages
      published.failed = state.failed
      published.problem = state.failed ?? state.stalled
      if !state.damaged.isEmpty || !published.damaged.isEmpty {
        published.damaged = state.damaged.keys.sorted()
      }
      if let isWAL { published.isWAL = isWAL }
      if let milliseconds { published.milliseconds = milliseconds }
    }
  }

  func rename(to name: String) { publication.withLock { $0.name = name } }
}
