import ArgumentParser
import Foundation
import Logging
import Server
import ServiceLifecycle
import UnixSignals

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serve until SIGTERM (the default)."
  )

  /// How long requests under way may take after SIGTERM.
  private static let drainLimit = Duration.seconds(10)

  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let isOnEventLoops = ControlPlane.runTasksOnEventLoops()
    let settings: ServerConfiguration
    do {
      settings = try options.settings().configuration()
    } catch {
      fail(error)
    }
    let level = Logger.Level(rawValue: settings.logLevel) ?? .info
    let format = settings.logFormat
    LoggingSystem.bootstrap { label in
      var handler: any LogHandler =
        format == .json ? JSONLogHandler() : StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    let logger = Logger(label: "nebulagc-server")
    if !isOnEventLoops {
      logger.notice("Requests change threads, which costs time: the runtime offers no hook")
    }
    logger.info(
      "Starting",
      metadata: [
        "version": "\(ServerVersion.text)", "database": "\(settings.database)",
        "ha_mode": "\(settings.haMode.rawValue)", "instance_id": "\(settings.instanceID)",
        "public_url": "\(settings.publicURL)", "write_guard": "\(settings.writeGuard.rawValue)",
      ]
    )
    var group = ServiceGroupConfiguration(
      services: ControlPlane(settings, logger: logger).services.map { .init(service: $0) },
      gracefulShutdownSignals: [.sigterm, .sigint],
      logger: logger
    )
    group.maximumGracefulShutdownDuration = Self.drainLimit
    do {
      try await ServiceGroup(configuration: group).run()
    } catch {
      logger.critical("The server ends", metadata: ["error": "\(error)"])
      throw ExitCode.failure
    }
  }
}
