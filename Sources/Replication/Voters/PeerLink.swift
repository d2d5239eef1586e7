import Logging
import NIOCore
import NIOPosix
import Synchronization

/// This node's own connection to one other voter: dialled, and dialled again when it ends.
final class PeerLink: Sendable {
  /// Bytes waiting in the channel before it is called full, and when it takes more again. What waits
  /// long is of no use to an election.
  private static let writeBuffer = ChannelOptions.Types.WriteBufferWaterMark(
    low: 16 << 10,
    high: 64 << 10
  )
  /// A connection of this age was a good one: the next may be dialled at once.
  private static let stableConnection = Duration.seconds(1)

  private let voter: String
  private let address: NetworkAddress
  private let configuration: PeerNetwork.Configuration
  private let metrics: ReplicationMetrics
  private let logger: Logger
  private let group: any EventLoopGroup

  private struct State {
    /// Set while the voter listens.
    var mailbox: PeerMailbox?
    /// Whether the log says that the voter is connected.
    var isAnnounced = false
  }
  private let state = Mutex(State())

  init(
    to voter: String,
    at address: NetworkAddress,
    configuration: PeerNetwork.Configuration,
    metrics: ReplicationMetrics,
    logger: Logger,
    group: any EventLoopGroup
  ) {
    self.voter = voter
    self.address = address
    self.configuration = configuration
    self.metrics = metrics
    self.logger = logger
    self.group = group
  }

  /// Whether the voter listens.
  var isConnected: Bool { state.withLock { $0.mailbox != nil } }

  /// From any thread. Never blocks; drops the message when it cannot be sent now.
  func send(_ bytes: [UInt8]) { state.withLock { $0.mailbox }?.post(bytes) }

  /// Ends when its task is cancelled, after a goodbye.
  func run() async {
    var random = SystemRandomNumberGenerator()
    var backoff = configuration.backoff
    var logged = ""
    while !Task.isCancelled {
      let began = configuration.clock.now()
      let (error, hasOpened) = await connect()
      if Task.isCancelled { return }
      let hasLasted =
        hasOpened && configuration.clock.now() - began > Self.stableConnection
      if hasLasted { backoff.reset() }
      let text = error.description
      // What fails again and again in the same way is said once.
      if text != logged || hasLasted {
        logged = text
        state.withLock { $0.isAnnounced = false }
        logger.warning(
          "There is no connection to a voter; trying again",
          metadata: ["voter": "\(voter)", "address": "\(address)", "reason": "\(text)"]
        )
      }
      do {
        try await configuration.clock.sleep(backoff.next(using: &random))
      } catch { return }
    }
  }

  /// One connection, from the dialling to its end: why it ended, and whether the voter had listened.
  private func connect() async -> (ReplicationError, hasOpened: Bool) {
    let end = group.next().makePromise(of: (ReplicationError, Bool).self)
    let channel: any Channel
    do {
      channel = try await dial(end)
      metrics.count { $0.connectionsMade += 1 }
    } catch {
      metrics.count { $0.connectionsFailed += 1 }
      let failure = ReplicationError(
        .address,
        "The voter \(voter) at \(address) cannot be reached: is it running, and is the address"
          + " right?",
        cause: error
      )
      end.succeed((failure, false))
      return (failure, false)
    }
    return await withTaskCancellationHandler {
      (try? await end.futureResult.get())
        ?? (ReplicationError(.closed, "The connection ended."), false)
    } onCancel: {
      channel.triggerUserOutboundEvent(StopEvent(), promise: nil)
    }
  }

  private func dial(
    _ end: EventLoopPromise<(ReplicationError, Bool)>
  ) async throws -> any Channel {
    try await ClientBootstrap(group: group)
      .connectTimeout(TimeAmount(configuration.connectTimeout))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.writeBufferWaterMark, value: Self.writeBuffer)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try self.initialize(channel, end) }
      }
      .connect(host: address.host, port: address.port)
      .get()
  }

  /// On the new connection's event loop.
  private func initialize(
    _ channel: any Channel,
    _ end: EventLoopPromise<(ReplicationError, Bool)>
  ) throws {
    let verdict = try configuration.security.protect(
      channel,
      to: [address.host, voter],
      clock: configuration.clock
    )
    let loop = channel.eventLoop
    let session = PeerSession(
      .dialling(voter: voter),
      local: PeerSession.Local(
        name: configuration.nodeName,
        cluster: configuration.cluster()
      ),
      timing: configuration.timing,
      now: configuration.clock.now()
    )
    let environment = PeerConnection.Environment(
      clock: configuration.clock,
      metrics: metrics,
      cluster: configuration.cluster,
      opened: { connection, _ in
        self.opened(PeerMailbox(NIOLoopBound(connection, eventLoop: loop)))
      },
      received: { _, _ in
        // The machine takes it for a violation: the voter speaks on its own connection.
      },
      ended: { error, name in
        // The only connection of this link: the next one is dialled when this has ended.
        self.state.withLock { $0.mailbox = nil }
        end.succeed((error, name != nil))
      }
    )
    try channel.pipeline.syncOperations.addHandler(
      PeerConnection(session, environment: environment, verdict: verdict, loop: loop)
    )
  }

  private func opened(_ mailbox: PeerMailbox) {
    let isNews = state.withLock { state in
      state.mailbox = mailbox
      defer { state.isAnnounced = true }
      return !state.isAnnounced
    }
    if isNews { logger.info("A voter is connected", metadata: ["voter": "\(voter)"]) }
  }
}
