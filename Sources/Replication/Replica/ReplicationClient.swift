package import Logging
package import NIOCore
import NIOPosix
package import Store
import Synchronization

/// The replica's side: dials the primary, follows it, and dials again when the connection ends.
///
/// A service: `run` ends when its task is cancelled, after a goodbye. When another node becomes primary,
/// its owner cancels this client and runs one for the new primary.
package final class ReplicationClient: Sendable {
  package struct Configuration: Sendable {
    /// Where the primary is.
    package var primary: NetworkAddress
    /// The primary's node name, when it is known: its certificate must carry it or the host dialled.
    package var expectedName: String?
    package var security: TransportSecurity
    package var nodeName: String
    package var timing = SessionTiming()
    package var sessionLimits = ReplicaSession.Limits()
    package var backoff = Backoff()
    package var connectTimeout = Duration.seconds(3)
    package var clock = ReplicationClock.system

    package init(
      primary: NetworkAddress,
      expectedName: String? = nil,
      security: TransportSecurity,
      nodeName: String
    ) {
      self.primary = primary
      self.expectedName = expectedName
      self.security = security
      self.nodeName = nodeName
    }
  }

  /// Bytes waiting in the channel before it is called full, and when it takes more again.
  private static let writeBuffer = ChannelOptions.Types.WriteBufferWaterMark(
    low: 256 << 10,
    high: 512 << 10
  )
  /// Bytes of one read from the socket: several TLS records at a time.
  private static let readSize = 256 << 10
  /// Sessions in a row that the sink ended without getting further, before it is rebuilt.
  private static let failuresBeforeReset = 2
  /// A connection of this age was a good one, even if nothing was written meanwhile.
  private static let stableConnection = Duration.seconds(10)

  private let configuration: Configuration
  private let sink: any ReplicationSink
  private let record: any ClusterRecord
  private let metrics: ReplicationMetrics
  private let logger: Logger
  private let group: any EventLoopGroup
  private let state = Mutex(ReplicaStatus())

  package init(
    configuration: Configuration,
    sink: any ReplicationSink,
    record: any ClusterRecord,
    metrics: ReplicationMetrics,
    logger: Logger,
    group: any EventLoopGroup
  ) {
    self.configuration = configuration
    self.sink = sink
    self.record = record
    self.metrics = metrics
    self.logger = logger
    self.group = group
  }

  /// Where this node stands. Cheap, from any thread.
  package var status: ReplicaStatus { state.withLock { $0 } }

  /// How one connection ended.
  private struct Outcome {
    var error: ReplicationError
    var wasStreaming = false
    var received = LogIndex.zero
  }

  package func run() async throws {
    var random = SystemRandomNumberGenerator()
    var backoff = configuration.backoff
    var failures = 0
    var lastReceived = LogIndex.zero
    var logged = ""
    while !Task.isCancelled {
      let began = configuration.clock.now()
      let wantsReset = failures >= Self.failuresBeforeReset
      if wantsReset {
        logger.error(
          "This node's log refuses the primary's entries; it asks for snapshots of all databases"
        )
      }
      let outcome = await follow(wantsReset: wantsReset)
      if Task.isCancelled { break }
      let hasAdvanced = outcome.wasStreaming && outcome.received > lastReceived
      let hasLasted =
        outcome.wasStreaming && configuration.clock.now() - began > Self.stableConnection
      // A connection that gets nowhere must not be tried at full speed, nor fill the log.
      if hasAdvanced || hasLasted { backoff.reset() }
      failures = outcome.error.code == .store && !hasAdvanced ? failures + 1 : 0
      lastReceived = max(lastReceived, outcome.received)
      state.withLock { status in
        status.isConnected = false
        status.snapshot = nil
        status.failure = outcome.error
      }
      let text = outcome.error.description
      if text != logged || hasLasted {
        logger.warning(
          "There is no connection to the primary; trying again",
          metadata: ["primary": "\(configuration.primary)", "reason": "\(text)"]
        )
        logged = text
      }
      do {
        try await configuration.clock.sleep(backoff.next(using: &random))
      } catch { break }
    }
  }

  /// One connection, from the dialling to its end.
  private func follow(wantsReset: Bool) async -> Outcome {
    let local = ReplicaSession.Local(
      name: configuration.nodeName,
      cluster: record.cluster,
      term: record.term,
      wantsReset: wantsReset
    )
    let session = ReplicaSession(
      local: local,
      timing: configuration.timing,
      limits: configuration.sessionLimits,
      now: configuration.clock.now()
    )
    let end = group.next().makePromise(of: Outcome.self)
    let channel: any Channel
    do {
      channel = try await dial(session, end: end)
      metrics.count { $0.connectionsMade += 1 }
    } catch {
      metrics.count { $0.connectionsFailed += 1 }
      let failure =
        error as? ReplicationError
        ?? ReplicationError(
          .address,
          "The primary at \(configuration.primary) cannot be reached: is it running, and is the"
            + " address right?",
          cause: error
        )
      end.succeed(Outcome(error: failure))
      return Outcome(error: failure)
    }
    return await withTaskCancellationHandler {
      (try? await end.futureResult.get())
        ?? Outcome(error: ReplicationError(.closed, "The connection ended."))
    } onCancel: {
      channel.triggerUserOutboundEvent(StopEvent(), promise: nil)
    }
  }

  private func dial(
    _ session: ReplicaSession,
    end: EventLoopPromise<Outcome>
  ) async throws -> any Channel {
    let environment = ReplicaConnection.Environment(
      sink: sink,
      record: record,
      clock: configuration.clock,
      timing: configuration.timing,
      metrics: metrics,
      logger: logger,
      publish: { self.publish($0) },
      ended: { error, session in
        end.succeed(
          Outcome(
            error: error,
            wasStreaming: session.hasStreamed,
            received: session.progress.received
          )
        )
      }
    )
    return try await ClientBootstrap(group: group)
      .connectTimeout(TimeAmount(configuration.connectTimeout))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.writeBufferWaterMark, value: Self.writeBuffer)
      .channelOption(
        .recvAllocator,
        value: FixedSizeRecvByteBufferAllocator(capacity: Self.readSize)
      )
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try self.initialize(channel, session, environment)
        }
      }
      .connect(host: configuration.primary.host, port: configuration.primary.port)
      .get()
  }

  /// On the new connection's event loop.
  private func initialize(
    _ channel: any Channel,
    _ session: ReplicaSession,
    _ environment: ReplicaConnection.Environment
  ) throws {
    let names = [configuration.primary.host] + [configuration.expectedName].compactMap { $0 }
    let verdict = try configuration.security.protect(
      channel,
      to: names,
      clock: configuration.clock
    )
    try channel.pipeline.syncOperations.addHandler(
      ReplicaConnection(
        session,
        environment: environment,
        verdict: verdict,
        loop: channel.eventLoop
      )
    )
  }

  private func publish(_ session: ReplicaSession) {
    state.withLock { status in
      status.isConnected = session.isStreaming
      status.term = session.term
      status.cluster = session.cluster
      status.snapshot = session.snapshotProgress
      guard let name = session.primaryName else { return }
      status.primaryName = name
      status.primaryLast = session.primaryLast
      status.lastWord = session.lastWord
      status.primaryWallClock = session.primaryWallClock
      guard session.isStreaming else { return }
      status.progress = session.progress
      status.waitingSince = session.waitingSince
      status.failure = nil
    }
  }
}

/// Asks a connection to say goodbye.
struct StopEvent: Sendable {}
