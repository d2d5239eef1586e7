#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif
import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import ServiceLifecycle

/// The read-only HTTP server of a node.
package struct HTTPService: Service {
  /// Connections at one time; a few probes, a Prometheus, some listeners.
  static let maximumConnections = 256
  /// How long a connection may be without a request, or take to send one.
  static let idleTimeout = TimeAmount.seconds(60)
  /// How often `/events` writes something, so that a dead client is noticed.
  static let heartbeat = Duration.seconds(15)

  private let configuration: HTTPConfiguration
  private let node: any NodeInspecting
  private let registry: PrometheusRegistry
  private let logger: Logger

  package init(
    configuration: HTTPConfiguration,
    node: any NodeInspecting,
    registry: PrometheusRegistry,
    logger: Logger
  ) {
    self.configuration = configuration
    self.node = node
    self.registry = registry
    self.logger = logger
  }

  /// Serves until the service group shuts down.
  package func run() async throws {
    try await run(onListening: { _ in })
  }

  /// - Parameter onListening: told the port once connections are accepted.
  func run(onListening: @escaping @Sendable (Int) -> Void) async throws {
    guard let address = configuration.address else {
      // The group would end with a service that ends.
      return try await gracefulShutdown()
    }
    let logger = logger
    var application = Application(
      responder: NodeResponder(node: node, registry: registry),
      server: .http1(
        configuration: .init(
          idleTimeout: Self.idleTimeout,
          httpDecoderConfiguration: .init(maxHeaderFieldSize: 8192, maxHeaderListSize: 16_384)
        )
      ),
      configuration: ApplicationConfiguration(
        address: .hostname(address.bindHost, port: address.port),
        availableConnectionsDelegate: MaximumAvailableConnections(Self.maximumConnections)
      ),
      onServerRunning: { channel in
        let port = channel.localAddress?.port ?? 0
        logger.info("HTTP is listening", metadata: ["address": "\(address)", "port": "\(port)"])
        onListening(port)
      },
      logger: logger
    )
    // What the framework says by itself about each start and stop is not for operators.
    application.logger.logLevel = max(logger.logLevel, .warning)
    do {
      try await serve(application)
    } catch let error as IOError where error.errnoCode == EADDRINUSE {
      guard configuration.isDefault else { throw HTTPAddressTaken(address: address) }
      logger.warning(
        "HTTP is off: its default port is taken; set http.addr to another one",
        metadata: ["address": "\(address)"]
      )
      try await gracefulShutdown()
    }
  }

  private func serve(_ application: Application<NodeResponder>) async throws {
    let hub = node.events
    try await withGracefulShutdownHandler {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await application.run() }
        group.addTask {
          while true {
            try await Task.sleep(for: Self.heartbeat)
            hub.heartbeat()
          }
        }
        defer { group.cancelAll() }
        try await group.next()
      }
    } onGracefulShutdown: {
      // Streams of events never end by themselves, and the server waits for its answers.
      hub.close()
    }
  }
}

/// Somebody else listens where HTTP is to be served.
struct HTTPAddressTaken: Error, CustomStringConvertible {
  let address: SocketAddressText

  var description: String {
    "HTTP cannot be served on \(address): the port is in use; set http.addr to another one"
  }
}
