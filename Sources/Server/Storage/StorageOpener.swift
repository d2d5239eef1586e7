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
  /// For ever: as long as an attempt hangs in the file system, another one would, too.
  private static let patience = Duration.seconds(100 * 365 * 86_400)

  package init(path: String, logger: Logger) {
    self.path = path
    self.logger = logger
  }

  /// - Parameter makesTables: whether a database that has none of the tables, or no file at all, becomes one that has. A
  ///   server that had one open must not: it would serve an empty one, and take writes, where a mount is missing.
  /// - Throws: whatever keeps the database from being used now.
  package func open(makesTables: Bool = true) throws -> Storage {
    let before = FileAtPath.look(path)
    let patience = Self.patience(OpenedFile(path: path, identity: before))
    if !makesTables { try expectTables(patience) }
    var configuration = Configuration()
    configuration.busyMode = patience
    configuration.maximumReaderCount = Storage.readers
    configuration.label = "nebulagc"
    let pool = try DatabasePool(path: path, configuration: configuration)
    do {
      let file = OpenedFile(path: path, identity: FileAtPath.look(path))
      guard before == .missing || before == file.identity else {
        throw StorageOpenerError.changing(path)
      }
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
      return Storage(pool: pool, file: file)
    } catch {
      try? pool.close()
      throw error
    }
  }

  /// Waits for a lock as SQLite itself would, but not on a file that is gone: nobody is left to release that one.
  private static func patience(_ file: OpenedFile) -> Database.BusyMode {
    if file.identity == .missing { return .timeout(Storage.busySeconds) }
    // In milliseconds: 1, 2, 3 and so on up to the longest.
    let longest = 25
    let rising = longest * (longest + 1) / 2
    let tries = longest + (Int(Storage.busySeconds * 1000) - rising) / longest
    return .callback { count in
      guard count < tries, file.loss() == nil else { return false }
      Thread.sleep(forTimeInterval: Double(min(count + 1, longest)) / 1000)
      return true
    }
  }

  /// Looks without leaving anything beside the file: a write-ahead log of an empty one would hide what comes in its place.
  private func expectTables(_ patience: Database.BusyMode) throws {
    if FileAtPath.look(path) == .missing { throw StorageOpenerError.missing(path) }
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = patience
    let hasTables: Bool
    do {
      let queue = try DatabaseQueue(path: path, configuration: configuration)
      defer { try? queue.close() }
      hasTables = try queue.read { try $0.tableExists("tenants") }
    } catch let error as DatabaseError where error.resultCode == .SQLITE_READONLY {
      // There is a journal to be played back, and so there was a database.
      return
    }
    if !hasTables { throw StorageOpenerError.empty(path) }
  }

  /// Tries until it can be opened, or the task is cancelled.
  /// - Parameter onWait: told why it cannot yet.
  func openWhenPossible(
    makesTables: Bool,
    onWait: @Sendable (String) -> Void
  ) async throws -> Storage {
    var said: String?
    while true {
      do {
        return try await attempt(makesTables: makesTables)
      } catch {
        try Task.checkCancellation()
        let reason = await Self.reason(error, path)
        onWait(reason)
        if said != reason { logger.warning("Waiting for the database: \(reason)") }
        said = reason
      }
      try await Task.sleep(for: Self.pause)
    }
  }

  /// One attempt. It may hang in the file system for as long as that likes, and goes on by itself when the task is cancelled.
  private func attempt(makesTables: Bool) async throws -> Storage {
    let pending = Pending<Storage>(Deadlines())
    return try await pending.value(within: Self.patience, late: { _ in CancellationError() }) {
      DispatchQueue.global().async {
        let result = Result { try open(makesTables: makesTables) }
        if !pending.finish(result) { try? result.get().close() }
      }
    }
  }

  /// What keeps a database from being used, for people. Waits for no file system that hangs.
  static func reason(_ error: any Error, _ path: String) async -> String {
    let isThere = await within(DatabaseAccess.lookLimit) {
      try? await inBackground { FileManager.default.fileExists(atPath: path) }
    }
    return reason(error, path, isThere: isThere ?? true)
  }

  static func reason(_ error: any Error, _ path: String, isThere: Bool) -> String {
    if case StorageError.noAnswer = error { return "\(path) does not answer" }
    guard let error = error as? DatabaseError else { return "\(error)" }
    switch error.resultCode {
    case .SQLITE_READONLY:
      return
        "\(path) lacks tables, and only the master may write here; it makes them when it starts"
    case .SQLITE_CANTOPEN:
      return isThere
        ? "\(path) cannot be opened (\(error.message ?? "no reason given"))"
        : "\(path) does not exist yet and cannot be made here; it comes from the master"
    case .SQLITE_BUSY:
      return "\(path) is locked by another process"
    default:
      return "\(path): \(error.message ?? "error") (SQLite \(error.extendedResultCode.rawValue))"
    }
  }
}

/// Why a database is not opened though SQLite would.
private enum StorageOpenerError: Error, CustomStringConvertible {
  case missing(String)
  case changing(String)
  case empty(String)

  var description: String {
    switch self {
    case .missing(let path):
      "\(path) does not exist, and is not made here; only a server that starts does that"
    case .changing(let path): "\(path) was replaced while it was being opened"
    case .empty(let path):
      "\(path) has no tables, and they are not made here; only a server that starts does that"
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
