package import Logging
package import NIOCore
package import NIOPosix
import NIOSSL
package import Store
import Synchronization

/// The listening side: serves each replica that is admitted while this node is the primary, and takes
/// the messages of other voters whether it is or not.
///
/// A service: `run` ends when its task is cancelled, after a goodbye to all peers.
package final class ReplicationServer: Sendable {
  package struct Configuration: Sendable {
    package var address: NetworkAddress
    package var security: TransportSecurity
    package var nodeName: String
    /// This node's cluster; nil before it has joined one, which may be while it listens. Cheap: asked
    /// at every tick.
    package var cluster: @Sendable () -> ClusterID?
    /// Whether a majority belongs to that cluster. Must not block.
    package var isConfirmed: @Sendable () -> Bool = { true }
    /// What voters say to this node; nil to refuse them.
    package var peers: PeerAcceptance?
    /// Where the primary is, as "host:port": told to replicas that ask this node when it is not; nil
    /// when unknown. Must not block.
    package var primary: @Sendable () -> String? = { nil }
    package var timing = SessionTiming()
    package var peerLimits = PrimaryPeer.Limits()
    /// Connections at a time, admitted or not.
    package var maxConnections = 64
    package var clock = ReplicationClock.system
    /// What may be used with a replica that knows it too.
    package var features = Features.supported
    /// Called when a peer has seen a term above this node's. Must not block.
    package var onHigherTerm: @Sendable (Term) -> Void = { _ in }

    package init(
      address: NetworkAddress,
      security: TransportSecurity,
      nodeName: String,
      cluster: ClusterID
    ) {
      self.init(address: address, security: security, nodeName: nodeName) { cluster }
    }

    package init(
      address: NetworkAddress,
      security: TransportSecurity,
      nodeName: String,
      cluster: @escaping @Sendable () -> ClusterID?
    ) {
      self.address = address
      self.security = security
      self.nodeName = nodeName
      self.cluster = cluster
    }
  }

  /// Connections that wait to be accepted.
  private static let backlog: Int32 = 128
  /// Bytes waiting in a channel before it is called full, and when it takes more again. Small, as an
  /// entry waits behind them.
  private static let writeBuffer = ChannelOptions.Types.WriteBufferWaterMark(
    low: 256 << 10,
    high: 512 << 10
  )
  /// How long connections may take to say goodbye.
  private static let goodbyeTime = TimeAmount.seconds(2)
  /// The same where the node goes on and has something else to do: they would notice by themselves.
  private static let dismissalTime = TimeAmount.milliseconds(100)

  private let context: ServerContext
  private let group: any EventLoopGroup
  private struct State {
    var listener: (any Channel)?
    var connections: [ObjectIdentifier: Connection] = [:]
  }
  private struct Connection {
    var channel: any Channel
    /// Ends the connection, or leaves it alone unless it is a replica's; whether it was ended.
    var stop: @Sendable (Goodbye.Reason, _ replicasOnly: Bool) -> EventLoopFuture<Bool>
  }
  private let state = Mutex(State())

  /// - Parameters:
  ///   - term: This node's term; nil while it is not the primary. Cheap: asked at every tick.
  ///   - pool: Threads for looking up names, shut down by the owner, after `run` has ended.
  package init(
    configuration: Configuration,
    source: any ReplicationSource,
    term: @escaping @Sendable () -> Term?,
    metrics: ReplicationMetrics,
    logger: Logger,
    group: any EventLoopGroup,
    pool: NIOThreadPool
  ) {
    self.group = group
    context = ServerContext(
      configuration: configuration,
      source: source,
      term: term,
      metrics: metrics,
      refusals: RefusalLog(logger: logger, metrics: metrics),
      registry: PeerRegistry(),
      voters: AcceptedVoters(),
      pool: pool,
      logger: logger
    )
  }

  /// The replicas that are or were connected.
  package func peers() -> [PeerStatus] {
    context.registry.statuses(at: context.configuration.clock.now())
  }

  /// Begins to listen; the port, which is chosen by the system when the configuration says 0.
  ///
  /// `run` does it too; done before, a port in use is noticed at start.
  @discardableResult
  package func listen() async throws -> Int {
    if let port = state.withLock({ $0.listener?.localAddress?.port }) { return port }
    let channel = try await bind()
    state.withLock { $0.listener = channel }
    let port = channel.localAddress?.port ?? context.configuration.address.port
    context.logger.info("Listening for other nodes", metadata: ["port": "\(port)"])
    return port
  }

  package func run() async throws {
    try await listen()
    guard let listener = state.withLock({ $0.listener }) else { return }
    try await withTaskCancellationHandler {
      try await listener.closeFuture.get()
    } onCancel: {
      listener.close(promise: nil)
    }
    await end(.stopping, replicasOnly: false)
  }

  /// Says goodbye to all replicas, and to no voters: this node is not the primary any more.
  ///
  /// Returns when their connections are closed, after a tenth of a second at most. Replicas that come back
  /// are refused by what `term` says, which must be nil or another one by now.
  package func closeReplicas(_ reason: Goodbye.Reason = .newTerm) async {
    await end(reason, replicasOnly: true)
  }

  private func bind() async throws -> any Channel {
    let address = context.configuration.address
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: Self.backlog)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.writeBufferWaterMark, value: Self.writeBuffer)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try self.accept(channel) }
      }
    var failure: (any Error)?
    for host in address.host.isEmpty ? ["::", "0.0.0.0"] : [address.host] {
      do {
        let resolved = try await resolve(host, port: address.port)
        try context.configuration.security.check(resolved)
        return try await bootstrap.bind(to: resolved).get()
      } catch let error as ReplicationError {
        throw error
      } catch {
        failure = error
      }
    }
    throw ReplicationError(
      .address,
      "Cannot listen on \(address): is the port in use, and is it an address of this machine"
        + " (replication.addr)?",
      cause: failure
    )
  }

  private func resolve(_ host: String, port: Int) async throws -> SocketAddress {
    try await context.pool.runIfActive {
      try SocketAddress.makeAddressResolvingHost(host, port: port)
    }
  }

  /// On the new connection's event loop.
  private func accept(_ channel: any Channel) throws {
    let id = ObjectIdentifier(channel)
    let gate: PreAuthenticationGate
    var verdict: PeerVerdict?
    var tls: NIOSSLServerHandler?
    switch context.configuration.security {
    case .tls(let credentials):
      gate = PreAuthenticationGate(expectsTLS: true)
      let material = credentials.current
      let clock = context.configuration.clock
      let verifier = PeerVerifier(
        roots: material.roots,
        side: .client,
        wallClock: { clock.wallClock() / 1_000 }
      )
      let box = PeerVerdict()
      verdict = box
      tls = NIOSSLServerHandler(
        context: material.server,
        customVerificationCallback: box.callback(verifier),
        configuration: .init()
      )
    case .insecure: gate = PreAuthenticationGate(expectsTLS: false)
    }
    let connection = ServerConnection(
      server: context,
      gate: gate,
      verdict: verdict,
      loop: channel.eventLoop
    )
    let bound = NIOLoopBound(connection, eventLoop: channel.eventLoop)
    let loop = channel.eventLoop
    let isAccepted = state.withLock { state in
      guard state.connections.count < context.configuration.maxConnections else { return false }
      state.connections[id] = Connection(channel: channel) { reason, replicasOnly in
        loop.submit {
          if replicasOnly { return bound.value.stopReplica(reason) }
          bound.value.stop(reason)
          return true
        }
      }
      return true
    }
    guard isAccepted else {
      context.refusals.refuse(
        channel.remoteAddress,
        .tooManyConnections,
        "There are \(context.configuration.maxConnections) connections already."
      )
      throw ChannelError.ioOnClosedChannel
    }
    context.metrics.count { $0.connectionsAccepted += 1 }
    channel.closeFuture.whenComplete { _ in
      self.state.withLock { $0.connections[id] = nil }
    }
    try channel.pipeline.syncOperations.addHandler(gate)
    if let tls { try channel.pipeline.syncOperations.addHandler(tls) }
    try channel.pipeline.syncOperations.addHandler(connection)
  }

  private func end(_ reason: Goodbye.Reason, replicasOnly: Bool) async {
    let connections = state.withLock { Array($0.connections.values) }
    // All of them begin to end before the first one is waited for.
    let stops = connections.map { ($0.channel, $0.stop(reason, replicasOnly)) }
    var channels: [any Channel] = []
    for (channel, stop) in stops where (try? await stop.get()) == true { channels.append(channel) }
    let ending = channels
    let loop = group.next()
    let closed = EventLoopFuture.andAllComplete(ending.map(\.closeFuture), on: loop)
    let timeout = loop.scheduleTask(in: replicasOnly ? Self.dismissalTime : Self.goodbyeTime) {
      for channel in ending { channel.close(mode: .all, promise: nil) }
    }
    try? await closed.get()
    timeout.cancel()
  }
}
