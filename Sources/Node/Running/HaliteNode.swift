import CoreMetrics
import FuseFS
import LTX
import Lease
import Logging
import NIOPosix
import Replication
import ServiceLifecycle
import Store
import Synchronization
import UnixSignals

/// One running node: the only place that knows all rooms.
///
/// Order of start: the store is opened and recovered, the lease says who is primary, the tree is
/// mounted, then the services run. The command on the mount starts last; at the end it goes first, then
/// the mount, then the network, and last the store writes down where it stands.
package final class HaliteNode: Sendable {
  let configuration: Configuration
  let store: Store
  let lease: any Lease
  let cluster: ClusterFile
  /// Nil when it is turned off.
  let scrubber: Scrubber?
  /// Held for as long as the node runs.
  private let lock: DirectoryLock?
  let mount: FuseMount
  let logger: Logger
  package let events = EventHub()
  let replicationMetrics = ReplicationMetrics()
  let started = ContinuousClock.now
  /// Threads for calls into the store that block.
  let pool: NIOThreadPool
  let mountEnd: MountEnd
  let ending: EndingWatch
  let isHandingOver = Atomic(false)
  let handOvers = Atomic(0)
  /// What this node does with the others now.
  let roles: RoleKeeper
  /// What accepts connections of other nodes; nil where none may come.
  let server: ReplicationServer?
  /// What carries the voters' messages; nil without elections.
  let voters: PeerNetwork?
  /// The voters that want the lease, as they ask.
  let handOverRequests: AsyncStream<String>?
  /// What links to others are made from.
  let parts: NodeParts

  /// Runs a node until it is told to stop or its command ends.
  ///
  /// - Returns: the exit code for the process.
  package static func run(configuration: Configuration) async throws -> Int32 {
    NativeMemory.shareArenas()
    let logger = Logger(label: "halite")
    let pool = NIOThreadPool(numberOfThreads: 4)
    pool.start()
    let node: HaliteNode
    do {
      node = try await pool.runIfActive {
        try HaliteNode(configuration, logger: logger, pool: pool)
      }
    } catch {
      try? await pool.shutdownGracefully()
      throw error
    }
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await node.ending.run() }
      defer { group.cancelAll() }
      let code: Int32
      do {
        code = try await node.serve()
      } catch {
        try? await node.end()
        throw error
      }
      try await node.end()
      return code
    }
  }

  private func end() async throws {
    ending.begin("store")
    defer { ending.end("store") }
    do {
      try await pool.runIfActive { [self] in try close() }
    } catch {
      try? await pool.shutdownGracefully()
      throw error
    }
    try await pool.shutdownGracefully()
  }

  /// Opens everything and mounts. Blocks.
  private init(_ configuration: Configuration, logger: Logger, pool: NIOThreadPool) throws {
    self.configuration = configuration
    self.logger = logger
    self.pool = pool
    ending = EndingWatch(logger: logger)
    let disk = SystemDisk()
    let directory = configuration.data.directory
    try disk.makeDirectory(directory)
    // Before anything there is looked at: opening the log cuts its torn end.
    lock = try DirectoryLock.take(directory, making: true)
    store = try Self.openStore(configuration, disk: disk, logger: logger)
    cluster = try ClusterFile(directory: directory, disk: disk)
    scrubber = Self.scrubber(configuration, store)
    parts = NodeParts(
      configuration: configuration,
      store: store,
      cluster: cluster,
      security: try NodeLinks.security(configuration, logger),
      pool: pool,
      metrics: replicationMetrics,
      logger: logger
    )
    let start = try NodeStart.make(parts)
    lease = start.lease
    roles = start.roles
    server = start.server
    voters = start.voters
    handOverRequests = start.requests
    let roles = start.roles
    store.setStanding { roles.standing(clock: SystemClock()) }
    let end = MountEnd()
    mountEnd = end
    mount = try FuseMount(
      configuration: FuseMountConfiguration(
        directory: configuration.fuse.directory,
        allowOther: configuration.fuse.allowOther,
        passthrough: configuration.fuse.passthrough != .off,
        lowLatency: configuration.fuse.lowLatency
      ),
      backend: store,
      logger: logger
    ) { _ in end.note() }
    try mount.start()
    if !mount.isPassthrough {
      store.reachSharedMemory(through: configuration.fuse.directory)
    }
  }

  private static func openStore(
    _ configuration: Configuration,
    disk: any Disk,
    logger: Logger
  ) throws -> Store {
    let retention = configuration.data.retention.components
    var parts = StoreConfiguration(
      directory: configuration.data.directory,
      compress: configuration.data.compress,
      retentionMilliseconds: UInt64(clamping: retention.seconds) &* 1000,
      maxLogBytes: configuration.data.maxLogSize
    )
    parts.followsLogs = configuration.fuse.passthrough == .all
    parts.forwards = configuration.writeForwarding && configuration.lease.kind != .single
    switch configuration.reads {
    case .linearizable: parts.reads = .linearizable
    case .local:
      parts.reads = .local(
        maxStaleness: configuration.maxStaleness.map { UInt64(clamping: milliseconds($0)) }
      )
    }
    // Where clients of a replica write, it changes for one database.
    parts.changesRoles = parts.forwards
    if case .quorum = configuration.lease.kind { parts.changesRoles = true }
    // Only where no other node can have been primary meanwhile is nothing newer than the node's own files.
    if configuration.isCandidate, parts.followsLogs { parts.boot = NodeIdentity.boot() }
    return try Store.open(
      parts,
      disk: disk,
      clock: SystemClock(),
      random: { UInt32.random(in: 0...UInt32.max) },
      node: NodeIdentity.number(of: configuration.lease.hostname),
      logger: logger
    )
  }

  private static func scrubber(_ configuration: Configuration, _ store: Store) -> Scrubber? {
    guard configuration.data.scrubRate > 0 else { return nil }
    let interval = Self.milliseconds(configuration.data.scrubInterval)
    return Scrubber(store: store, interval: UInt64(clamping: interval))
  }

  /// Runs all services; returns the command's exit code.
  private func serve() async throws -> Int32 {
    let registry = PrometheusRegistry(descriptions: NodeMetrics.descriptions)
    let metrics = NodeMetrics(factory: registry)
    let watching = publish(metrics)
    defer { withExtendedLifetime(watching) {} }
    let exec = ExecService(
      commands: configuration.exec,
      isCandidate: configuration.isCandidate,
      grace: configuration.execStopTimeout,
      logger: logger
    )
    let maintenance = MaintenanceService(node: self, metrics: metrics)
    var services = [NodeService(name: "housekeeping", service: maintenance)] + linkServices()
    func add(_ name: String, _ service: any Service) {
      services.append(NodeService(name: name, service: service))
    }
    if let scrubber {
      let rate = configuration.data.scrubRate
      add("scrub", ScrubService(scrubber: scrubber, rate: rate, pool: pool, logger: logger))
    }
    add(
      "HTTP",
      HTTPService(configuration: configuration.http, node: self, registry: registry, logger: logger)
    )
    add(
      "control socket",
      ControlServer(path: configuration.data.controlSocket, node: self, logger: logger)
    )
    add("mount", MountService(node: self))
    let command = NodeService(name: "command", service: ReadyThenExec(exec: exec, node: self))
    var last = ending.watched(command)
    last.successTerminationBehavior = .gracefullyShutdownGroup
    var group = ServiceGroupConfiguration(
      services: services.map(ending.watched) + [last],
      gracefulShutdownSignals: [.sigterm, .sigint],
      logger: quiet
    )
    group.maximumGracefulShutdownDuration = configuration.execStopTimeout + .seconds(30)
    try await ServiceGroup(configuration: group).run()
    events.close()
    return exec.exitCode
  }

  /// The lifecycle library tells of each service at start and end; only its failures matter.
  private var quiet: Logger {
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    return quiet
  }

  /// Unmounts, if that has not been done, and leaves the store ready for a start without redo.
  private func close() throws {
    store.prepareToUnmount()
    switch mount.unmount() {
    case .unmounted: try store.shutDown()
    case .detached:
      // Clients still have files open: their write-ahead logs must stay theirs.
      logger.warning("files on the mount are still open; the next start reads the log's tail")
      try store.maintain()
    }
  }

  /// Passes what happens in the store on to `/events` and `/metrics`.
  private func publish(_ metrics: NodeMetrics) -> SubscriptionToken {
    tellPrimary(lease.state)
    let events = events
    let store = store
    return store.observe { event in
      guard case .committed(let database) = event else { return }
      if store.role == .primary { metrics.commits.increment() } else { metrics.applied.increment() }
      guard events.isWatched else { return }
      events.publish(
        .transaction(
          .init(
            database: database.name,
            txid: database.position.txid.rawValue,
            checksum: database.position.checksum.rawValue,
            pageSize: UInt32(database.pageSize?.bytes ?? 0),
            pages: database.pages,
            timestamp: Int64(clamping: database.milliseconds)
          )
        )
      )
    }
  }
}
