import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import NIOPosix
package import ServiceLifecycle

/// The control-plane server: an HTTP interface over one SQLite database, with nothing in it that knows how
/// the file is kept.
package struct ControlPlane: Sendable {
  /// How long a connection may be without a request, or take to send one.
  static let idleTimeout = TimeAmount.seconds(120)
  static let maximumConnections = 4096
  static let maximumHeader = 16_384

  private let configuration: ServerConfiguration
  private let access: DatabaseAccess
  private let heartbeats: HeartbeatService
  private let api: ServerAPI
  private let logger: Logger
  private let onListening: @Sendable (Int) -> Void

  /// - Parameter onListening: told the port once connections are accepted.
  package init(
    _ configuration: ServerConfiguration,
    logger: Logger,
    clock: ServerClock = .system,
    onListening: @escaping @Sendable (Int) -> Void = { _ in }
  ) {
    let metrics = ServerMetrics()
    metrics.set(MetricNames.info, ["version": ServerVersion.text], to: 1)
    let status = HAStatus(configuration, metrics: metrics, logger: logger)
    access = DatabaseAccess(
      StorageOpener(path: configuration.database, logger: logger),
      metrics: metrics,
      logger: logger,
      onLoss: {
        status.update { $0.failedToWrite() }
        status.wishForHeartbeat()
      }
    )
    heartbeats = HeartbeatService(
      configuration: configuration,
      database: access,
      file: PrimaryFile(beside: configuration.database),
      status: status,
      metrics: metrics,
      clock: clock,
      logger: logger
    )
    api = ServerAPI(
      configuration: configuration,
      access: access,
      hasher: TokenHasher(secret: configuration.secret),
      limiter: MeteredLimiter(
        limiter: RateLimiter(configuration.limits),
        metrics: metrics,
        clock: clock
      ),
      status: status,
      metrics: metrics,
      clock: clock
    )
    self.configuration = configuration
    self.logger = logger
    self.onListening = onListening
  }

  /// Lets Swift's tasks run on the event loops for as long as the process lives: a request then stays on the thread that has
  /// its connection, instead of going to another one and back with every step. What may wait for a disk is not done on
  /// threads of the Swift concurrency pool, which these are then.
  ///
  /// To be called once, before anything else.
  /// - Returns: false where the runtime does not offer that; then all works as before, slower.
  package static func runTasksOnEventLoops() -> Bool {
    NIOSingletons.unsafeTryInstallSingletonPosixEventLoopGroupAsConcurrencyGlobalExecutor()
  }

  /// In the order in which they start; they stop the other way round, so that requests are answered to the last
  /// and the database is closed by nobody who uses it.
  package var services: [any Service] { [access, heartbeats, application()] }

  private func application() -> some Service {
    var quiet = logger
    // What the framework says by itself about each start and stop is not for operators.
    quiet.logLevel = max(logger.logLevel, .notice)
    let (logger, onListening) = (logger, onListening)
    return Application(
      router: router(),
      server: .http1(
        configuration: .init(
          idleTimeout: Self.idleTimeout,
          httpDecoderConfiguration: .init(
            maxHeaderFieldSize: Self.maximumHeader,
            maxHeaderListSize: 2 * Self.maximumHeader
          )
        )
      ),
      configuration: ApplicationConfiguration(
        address: .hostname(configuration.listen.host, port: configuration.listen.port),
        serverName: "nebulagc-server",
        availableConnectionsDelegate: MaximumAvailableConnections(Self.maximumConnections)
      ),
      onServerRunning: { channel in
        let port = channel.localAddress?.port ?? 0
        logger.info("Listening", metadata: ["port": "\(port)"])
        onListening(port)
      },
      logger: quiet
    )
  }

  private func router() -> Router<ServerRequestContext> {
    let router = Router(
      context: ServerRequestContext.self,
      options: .autoGenerateHeadEndpoints
    )
    // Outermost, since a page has to be able to read refusals, too.
    if !configuration.corsOrigins.isEmpty {
      router.add(middleware: CORS(origins: Set(configuration.corsOrigins)))
    }
    router.add(
      middleware: Gateway(
        status: api.status,
        metrics: api.metrics,
        clock: api.clock,
        logger: logger
      )
    )
    router.add(
      middleware: Admission(
        configuration: configuration,
        status: api.status,
        limiter: api.limiter
      )
    )
    api.add(to: router)
    return router
  }
}
