import ArgumentParser
import Foundation
import Server

/// Settings as flags. Each has a name in the environment and in an env file, too.
struct SettingsOptions: ParsableArguments {
  @Option(help: "File of NAME=value lines, for what neither a flag nor the environment says.")
  var envFile: String?

  @Option(help: "[HOST]:PORT to listen on (NEBULAGC_LISTEN_ADDR; :8080).")
  var listen: String?

  @Option(name: .customLong("db"), help: "Path of the database (NEBULAGC_DB_PATH; ./nebula.db).")
  var database: String?

  @Option(help: "Key of the token hashes, at least 32 bytes (NEBULAGC_HMAC_SECRET).")
  var secret: String?

  @Option(help: "UUID of this server (NEBULAGC_INSTANCE_ID; a new one at each start).")
  var instanceId: String?

  @Option(help: "master, replica or auto, which follows .primary (NEBULAGC_HA_MODE; auto).")
  var haMode: String?

  @Option(help: "URL at which others reach this server (NEBULAGC_PUBLIC_URL).")
  var publicUrl: String?

  @Option(help: "URL of the master (NEBULAGC_MASTER_URL; as the registry says).")
  var masterUrl: String?

  @Option(
    help: "What a replica does with writes: redirect or off, to make them (NEBULAGC_WRITE_GUARD)."
  )
  var writeGuard: String?

  @Option(help: "Origins of pages that may ask, by commas (NEBULAGC_CORS_ORIGINS).")
  var corsOrigins: String?

  @Option(help: "trace to critical (NEBULAGC_LOG_LEVEL; info).")
  var logLevel: String?

  @Option(help: "console or json (NEBULAGC_LOG_FORMAT; console).")
  var logFormat: String?

  /// - Throws: `ConfigurationError` when the env file cannot be used.
  func settings() throws -> ServerSettings {
    let given: [(String, String?)] = [
      ("NEBULAGC_LISTEN_ADDR", listen), ("NEBULAGC_DB_PATH", database),
      ("NEBULAGC_HMAC_SECRET", secret), ("NEBULAGC_INSTANCE_ID", instanceId),
      ("NEBULAGC_HA_MODE", haMode), ("NEBULAGC_PUBLIC_URL", publicUrl),
      ("NEBULAGC_MASTER_URL", masterUrl), ("NEBULAGC_WRITE_GUARD", writeGuard),
      ("NEBULAGC_CORS_ORIGINS", corsOrigins), ("NEBULAGC_LOG_LEVEL", logLevel),
      ("NEBULAGC_LOG_FORMAT", logFormat),
    ]
    return ServerSettings(
      flags: Dictionary(
        uniqueKeysWithValues: given.compactMap { name, value in value.map { (name, $0) } }
      ),
      environment: ProcessInfo.processInfo.environment,
      file: try envFile.map(EnvironmentFile.read) ?? [:]
    )
  }
}

/// Ends a command that cannot do what it was asked to, with the reasons and without a usage text.
func fail(_ error: any Error) -> Never {
  let lines = "\(error)".split(separator: "\n").map { "nebulagc-server: \($0)\n" }.joined()
  try? FileHandle.standardError.write(contentsOf: Data(lines.utf8))
  exit(1)
}
