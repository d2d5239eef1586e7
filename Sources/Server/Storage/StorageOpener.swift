import Foundation
import GRDB
package import Logging

/// Opens the database and brings its tables up to date.
///
/// On a replica the file may not have come yet, may not be writable, or may lack tables that another server is
/// about to make. None of these is a reason to end: the server says what it waits for and tries again.
package struct StorageOpener: Sendable {
  private let path: String
  private let logger: Logger
  static let pause = Duration.milliseconds(250)

  package init(path: String, logger: Logger) {
    self.path = path
    self.logger = logger
  }

  /// - Throws: whatever keeps the database from being used now.
  package func open() throws -> Storage {
    var configuration = Configuration()
    configuration.busyMode = .timeout(Storage.busySeconds)
    configuration.maximumReaderCount = Storage.readers
    configuration.label = "nebulagc"
    let pool = try DatabasePool(path: path, configuration: configuration)
    do {
      let migrations = Migrations.all
      let state = try pool.read { database in
        (
          try migrations.hasCompletedMigrations(database),
          try migrations.hasBeenSuperseded(database)
        )
      }
      if state.1 {
        logger.warning("The database has tables of a later version of this server")
      } else if !state.0 {
        try migrations.migrate(pool)
        logger.info("The tables are up to date", metadata: ["database": "\(path)"])
      }
      return Storage(pool: pool)
    } catch {
      try? pool.close()
      throw error
    }
  }

  /// Tries until it can be opened, or the task is cancelled.
  /// - Parameter onWait: told why it cannot yet.
  func openWhenPossible(onWait: @Sendable (String) -> Void) async throws -> Storage {
    var said: String?
    while true {
      do {
        return try await inBackground { try open() }
      } catch {
        let reason = Self.reason(error, path)
        onWait(reason)
        if said != reason { logger.warning("Waiting for the database: \(reason)") }
        said = reason
      }
      try await Task.sleep(for: Self.pause)
    }
  }

  /// What keeps a database from being used, for people.
  static func reason(_ error: any Error, _ path: String) -> String {
    guard let error = error as? DatabaseError else { return "\(error)" }
    switch error.resultCode {
    case .SQLITE_READONLY:
      return
        "\(path) lacks tables, and only the master may write here; it makes them when it starts"
    case .SQLITE_CANTOPEN:
      return FileManager.default.fileExists(atPath: path)
        ? "\(path) cannot be opened (\(error.message ?? "no reason given"))"
        : "\(path) does not exist yet and cannot be made here; it comes from the master"
    case .SQLITE_BUSY:
      return "\(path) is locked by another process"
    default:
      return "\(path): \(error.message ?? "error") (SQLite \(error.extendedResultCode.rawValue))"
    }
  }
}

/// Runs what blocks on a thread that may be blocked.
func inBackground<Value: Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
  }
}
