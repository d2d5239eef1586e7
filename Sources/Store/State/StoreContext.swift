import LTX
import Logging
import Synchronization

/// What every database of a store shares.
package final class StoreContext: Sendable {
  /// The directory the mount shows.
  package let tree: String
  /// Page checksums and positions.
  let stateDirectory: String
  let disk: any Disk
  package let health: DiskHealth
  let clock: any WallClock
  /// 32 random bits, for the salts of write-ahead logs.
  let random: @Sendable () -> UInt32
  /// This node in the header of LTX files.
  let node: UInt64
  let log: Log
  let locks = LockRegistry()
  /// What the tree's directories had to be synced for.
  let names: DirectoryNames
  /// Where shared memory is reached through the daemon's own mount; nil for the tree itself.
  let mountedAt = Mutex<String?>(nil)
  /// Set when the mount is about to go: nothing is applied or mapped any more.
  let isStopping = Mutex(false)
  /// Pages found damaged since the start.
  let damageFound = Atomic<Int>(0)
  let logger: Logger

  init(
    configuration: StoreConfiguration,
    disk: any Disk,
    health: DiskHealth,
    clock: any WallClock,
    random: @escaping @Sendable () -> UInt32,
    node: UInt64,
    log: Log,
    names: DirectoryNames,
    logger: Logger
  ) {
    tree = configuration.tree
    stateDirectory = configuration.stateDirectory
    self.disk = disk
    self.health = health
    self.clock = clock
    self.random = random
    self.node = node
    self.log = log
    self.names = names
    self.logger = logger
  }

  /// Makes durable what has come to and gone from the directory of a path in the tree.
  func syncParent(of name: String) throws(StoreError) {
    let parent = name.lastIndex(of: "/").map { "/" + name[..<$0] } ?? ""
    try disk.syncDirectory(tree + parent)
  }
}

/// Where a store keeps what, and for how long.
package struct StoreConfiguration: Sendable {
  /// The data directory, absolute; everything of the store lies in it.
  package var directory: String
  /// Compress pages (LZ4) in full segments of the log and on their way to replicas.
  package var compress: Bool
  /// Segments of the log that are younger stay, in milliseconds.
  package var retentionMilliseconds: UInt64
  /// Bytes of log above which old segments go even if a replica still needs them.
  package var maxLogBytes: Int64
  /// Whether clients may write their write-ahead logs by themselves while this node is the primary, see
  /// `Database.captureWritten`. Off where the kernel cannot pass files through.
  package var followsLogs = false
  /// Whether this node can become the primary, or cease to be it, while it runs.
  package var changesRoles = false
  /// Whether clients of replicas may write, and this node lets replicas write while it is the primary.
  package var forwards = false
  /// How long a client waits to hear what has become of a transaction that was sent to the primary, in seconds.
  package var outcomeSeconds = 30.0
  /// What readers see.
  package var reads = ReadMode.local(maxStaleness: nil)
  /// Names the time since the machine was started, where this node alone writes the databases of its data
  /// directory; nil anywhere else.
  ///
  /// When the name is that of the time before, the node has ended and not the machine, so that the files are
  /// as they were left: what a write-ahead log holds behind the log is then taken up.
  package var boot: String?
  /// Bytes after which a segment of the log is full.
  package var segmentBytes: Int64 = 64 << 20

  package init(
    directory: String,
    compress: Bool = true,
    retentionMilliseconds: UInt64 = 600_000,
    maxLogBytes: Int64 = 1 << 30
  ) {
    self.directory = directory
    self.compress = compress
    self.retentionMilliseconds = retentionMilliseconds
    self.maxLogBytes = maxLogBytes
  }

  package var tree: String { directory + "/files" }
  var logDirectory: String { directory + "/log" }
  var stateDirectory: String { directory + "/state" }
  var stagingDirectory: String { directory + "/staging" }
  var quarantineDirectory: String { directory + "/quarantine" }
}

/// One lock table a path, for as long as somebody refers to it.
final class LockRegistry: Sendable {
  private struct Entry { weak var table: FileLocks? }
  private struct State {
    var tables: [String: Entry] = [:]
    var pruneAbove = 1024
  }
  private let state = Mutex(State())

  func table(for path: String) -> FileLocks {
    state.withLock { state in
      if let table = state.tables[path]?.table { return table }
      let table = FileLocks()
      state.tables[path] = Entry(table: table)
      if state.tables.count > state.pruneAbove {
        state.tables = state.tables.filter { $0.value.table != nil }
        state.pruneAbove = max(1024, 2 * state.tables.count)
      }
      return table
    }
  }

  /// The file at this path is another one from now on.
  func forget(_ path: String) { state.withLock { $0.tables[path] = nil } }

  func move(_ source: String, to target: String) {
    state.withLock { state in
      state.tables[target] = state.tables.removeValue(forKey: source)
    }
  }
}
