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
  let role: Role

  /// What this node does with the others.
  enum Role: Sendable {
    case alone
    case primary(ReplicationServer)
    case replica(ReplicationClient, ReplicaEngine)
  }

  /// The certificates in use; nil with plain text and for a node that stands alone.
  let credentials: TLSCredentials?

  /// What a node's role is made from.
  private struct Parts {
    var configuration: Configuration
    var store: Store
    var cluster: ClusterFile
    var security: Replication.TransportSecurity?
    var pool: NIOThreadPool
    var metrics: ReplicationMetrics
    var logger: Logger
  }

  /// Runs a node until it is told to stop or its command ends.
  ///
  /// - Returns: the exit code for the process.
  package static func run(configuration: Configuration) async throws -> Int32 {
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
    do {
      let code = try await node.serve()
      try await pool.runIfActive { try node.close() }
      try await pool.shutdownGracefully()
      return code
    } catch {
      try? await pool.runIfActive { try node.close() }
      try? await pool.shutdownGracefully()
      throw error
    }
  }

  /// Opens everything and mounts. Blocks.
  private init(_ configuration: Configuration, logger: Logger, pool: NIOThreadPool) throws {
    self.configuration = configuration
    self.logger = logger
    self.pool = pool
    let disk = SystemDisk()
    let directory = configuration.data.directory
    try disk.makeDirectory(directory)
    // Before anything there is looked at: opening the log cuts its torn end.
    lock = try DirectoryLock.take(directory, making: true)
    store = try Self.openStore(configuration, disk: disk, logger: logger)
    cluster = try ClusterFile(directory: directory, disk: disk)
    scrubber = Self.scrubber(configuration, store)
    let last = max(store.log.last.term, cluster.term)
    lease = Self.lease(configuration, last: last)
    let security = try NodeLinks.security(configuration, logger)
    if case .tls(let found) = security { credentials = found } else { credentials = nil }
    role = try Self.takeRole(
      Parts(
        configuration: configuration,
        store: store,
        cluster: cluster,
        security: security,
        pool: pool,
        metrics: replicationMetrics,
        logger: logger
      ),
      lease.state
    )
    if case .replica(let client, _) = role {
      store.setStanding { Self.standing(client.status, clock: SystemClock()) }
    }
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

  private static func lease(_ configuration: Configuration, last: Term) -> any Lease {
    let name = configuration.lease.hostname
    let next = LeaseTerm(last.rawValue + 1)
    let own = configuration.replication.advertise.description
    switch configuration.lease.kind {
    case .single: return StaticLease(soleNode: name, address: own, term: next)
    case .fixed(let primary, let isPrimary):
      return StaticLease(
        name: name,
        advertise: isPrimary ? primary.description : own,
        primary: primary.description,
        term: isPrimary ? next : LeaseTerm(last.rawValue)
      )
    }
  }

  private static func takeRole(_ parts: Parts, _ lease: LeaseState) throws -> Role {
    guard lease.isHeldHere else {
      let engine = try ReplicaEngine(store: parts.store)
      try parts.store.becomeReplica()
      return .replica(try client(parts, engine), engine)
    }
    let identity = parts.cluster.cluster ?? NodeIdentity.newCluster()
    let term = Term(lease.term.rawValue)
    // On record before anything is written under it, so that no later start uses it again.
    try parts.cluster.adopt(cluster: identity, term: term)
    try parts.store.becomePrimary(term)
    guard let security = parts.security else { return .alone }
    let address = parts.configuration.replication.address
    var configuration = ReplicationServer.Configuration(
      address: NetworkAddress(host: address.host, port: address.port),
      security: security,
      nodeName: parts.configuration.lease.hostname,
      cluster: identity
    )
    if !parts.configuration.data.compress { configuration.features.remove(.packedEntries) }
    return .primary(
      ReplicationServer(
        configuration: configuration,
        source: parts.store,
        term: { term },
        metrics: parts.metrics,
        logger: parts.logger,
        group: MultiThreadedEventLoopGroup.singleton,
        pool: parts.pool
      )
    )
  }

  private static func client(
    _ parts: Parts,
    _ engine: ReplicaEngine
  ) throws -> ReplicationClient {
    guard case .fixed(let primary, _) = parts.configuration.lease.kind,
      let security = parts.security
    else {
      throw StoreError(
        .invalid,
        "a replica needs lease.primary, and replication.tls with ca, cert and key; make them with "
          + "`halite cert`"
      )
    }
    return ReplicationClient(
      configuration: .init(
        primary: NetworkAddress(host: primary.host, port: primary.port),
        security: security,
        nodeName: parts.configuration.lease.hostname
      ),
      sink: engine,
      record: parts.cluster,
      metrics: parts.metrics,
      logger: parts.logger,
      group: MultiThreadedEventLoopGroup.singleton,
      pool: parts.pool
    )
  }

  /// What `.primary` and `.lag` say on a replica.
  private static func standing(_ status: ReplicaStatus, clock: SystemClock) -> Store.Standing {
    let now = ContinuousClock.now
    let silence = status.lastWord.map { milliseconds(now - $0) } ?? 0
    return Store.Standing(
      primary: status.isConnected ? status.primaryName : nil,
      lagMilliseconds: status.lag(at: now).map(milliseconds),
      heard: clock.milliseconds &- UInt64(clamping: silence)
    )
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
    var services: [any Service] = [MaintenanceService(node: self, metrics: metrics)]
    services.append(contentsOf: replicationServices())
    if let scrubber {
      let rate = configuration.data.scrubRate
      services.append(ScrubService(scrubber: scrubber, rate: rate, pool: pool, logger: logger))
    }
    services.append(
      HTTPService(configuration: configuration.http, node: self, registry: registry, logger: logger)
    )
    services.append(
      ControlServer(path: configuration.data.controlSocket, node: self, logger: logger)
    )
    services.append(MountService(node: self))
    var last = ServiceGroupConfiguration.ServiceConfiguration(
      service: ReadyThenExec(exec: exec, node: self)
    )
    last.successTerminationBehavior = .gracefullyShutdownGroup
    var group = ServiceGroupConfiguration(
      services: services.map { .init(service: $0) } + [last],
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

  private func replicationServices() -> [any Service] {
    var services: [any Service] = []
    switch role {
    case .alone: break
    case .primary(let server):
      services.append(CancelledAtShutdown { try await server.run() })
    case .replica(let client, _):
      services.append(CancelledAtShutdown { try await client.run() })
    }
    if let credentials {
      let watcher = TLSWatcher(credentials, pool: pool)
      services.append(CancelledAtShutdown { try await watcher.run() })
    }
    return services
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
    let state = lease.state
    events.publish(
      .primaryChange(
        isPrimary: state.isHeldHere,
        hostname: state.isHeldHere ? configuration.lease.hostname : state.holder?.address ?? ""
      )
    )
    let events = events
    return store.observe { event in
      guard case .committed(let database) = event else { return }
      if state.isHeldHere { metrics.commits.increment() } else { metrics.applied.increment() }
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
