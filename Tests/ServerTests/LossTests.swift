import Foundation
import GRDB
import HTTPTypes
import ServiceLifecycle
import Testing

@testable import Server

/// A server whose database is taken away under it, and given back.
@Suite(.timeLimit(.minutes(2))) struct LossTests {
  private let losses = "nebulagc_db_losses_total"

  private func names(_ server: LiveServer, _ token: String) async throws -> [String] {
    let reply = try await server.send("GET", "/api/v1/nodes?page_size=500", token: token)
    let nodes = try JSONDecoder().decode(Listed.self, from: reply.body).data.nodes
    return nodes.map(\.name).sorted()
  }

  private struct Listed: Decodable {
    struct Node: Decodable { let name: String }
    struct Page: Decodable { let nodes: [Node] }
    let data: Page
  }

  private func add(_ server: LiveServer, _ token: String, _ name: String) async throws
    -> LiveServer.Reply
  {
    try await server.send("POST", "/api/v1/nodes", token: token, json: #"{"name":"\#(name)"}"#)
  }

  /// What a database holds that nobody else has open, with its write-ahead log.
  private func names(in path: String) throws -> [String] {
    let database = try DatabaseQueue(path: path)
    defer { try? database.close() }
    return try database.read { database in
      #expect(try String.fetchAll(database, sql: "PRAGMA integrity_check") == ["ok"])
      return try String.fetchAll(database, sql: "SELECT name FROM nodes ORDER BY name")
    }
  }

  private func copy(_ server: LiveServer, to path: String) throws {
    try DatabaseQueue(path: server.database).inDatabase {
      try $0.execute(sql: "VACUUM INTO ?", arguments: [path])
    }
  }

  private func expectLost(_ server: LiveServer, _ token: String) async throws {
    try await server.eventually("lost") {
      try await server.send("GET", "/health").status == 503
    }
    #expect(try await server.send("GET", "/health/live").status == 200)
    #expect(try await server.send("GET", "/health/master").status == 503)
    let refused = try await add(server, token, "refused")
    #expect(refused.status == 503 && refused.error == "not_ready", "\(refused.text)")
    #expect(try await server.send("GET", "/api/v1/nodes", token: token).status == 503)
    #expect(try await server.metric("nebulagc_db_ready") == 0)
    #expect(try await server.metric("nebulagc_ha_is_master") == 0)
  }

  @Test func aDirectoryThatIsReplacedIsServed() async throws {
    let home = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    let (directory, copied, moved) = (home + "/now", home + "/copy", home + "/moved")
    for each in [directory, copied] {
      try FileManager.default.createDirectory(atPath: each, withIntermediateDirectories: true)
    }
    defer { try? FileManager.default.removeItem(atPath: home) }
    try await LiveServer.with(directory: directory) { server in
      let token = try await server.makeCluster().nodeToken
      #expect(try await add(server, token, "both").status == 201)
      try copy(server, to: copied + "/nebula.db")
      #expect(try await add(server, token, "old").status == 201)

      try FileManager.default.moveItem(atPath: directory, toPath: moved)
      try await expectLost(server, token)
      try FileManager.default.moveItem(atPath: copied, toPath: directory)
      try await server.untilReady()
      #expect(try await names(server, token) == ["admin", "both"])
      #expect(try await add(server, token, "new").status == 201)
      try await server.eventually("master") {
        try await server.send("GET", "/health/master").status == 200
      }
      #expect(try await server.metric(losses) == 1)
    }
    #expect(try names(in: moved + "/nebula.db") == ["admin", "both", "old"])
    #expect(try names(in: directory + "/nebula.db") == ["admin", "both", "new"])
  }

  @Test func aFileThatIsReplacedIsServedWithoutTheOldLog() async throws {
    try await LiveServer.with { server in
      let token = try await server.makeCluster().nodeToken
      let (copied, moved) = (server.directory + "/copy.db", server.directory + "/moved.db")
      try copy(server, to: copied)
      for number in 1...20 { #expect(try await add(server, token, "old\(number)").status == 201) }
      try FileManager.default.linkItem(atPath: server.database, toPath: moved)
      #expect(rename(copied, server.database) == 0)
      try await server.eventually("another database") {
        guard try await server.metric(losses) == 1 else { return false }
        return try await server.send("GET", "/health/ready").status == 200
      }
      #expect(try await names(server, token) == ["admin"])
      #expect(try await add(server, token, "new").status == 201)
      #expect(try names(in: moved).count == 21)
      #expect(try names(in: server.database) == ["admin", "new"])
    }
  }

  @Test func aFileThatIsMissingIsWaitedForAndNotMade() async throws {
    try await LiveServer.with { server in
      let token = try await server.makeCluster().nodeToken
      let copied = server.directory + "/copy.db"
      try copy(server, to: copied)
      for end in ["", "-wal", "-shm"] {
        try FileManager.default.removeItem(atPath: server.database + end)
      }
      try await expectLost(server, token)
      func reason(_ text: String) async throws {
        try await server.eventually(text) {
          try await server.send("GET", "/health/ready").text.contains(text)
        }
      }
      try await reason("does not exist, and is not made here")
      #expect(!FileManager.default.fileExists(atPath: server.database))
      // What stands where a mount should be is not made into a database.
      #expect(FileManager.default.createFile(atPath: server.database, contents: nil))
      try await reason("has no tables")
      #expect(try Data(contentsOf: URL(fileURLWithPath: server.database)).isEmpty)
      #expect(rename(copied, server.database) == 0)
      try await server.untilReady()
      #expect(try await names(server, token) == ["admin"])
      #expect(try await add(server, token, "new").status == 201)
    }
  }

  @Test func aDatabaseThatIsLockedIsNotLost() async throws {
    try await LiveServer.with { server in
      let token = try await server.makeCluster().nodeToken
      var configuration = Configuration()
      configuration.allowsUnsafeTransactions = true
      let holder = try DatabaseQueue(path: server.database, configuration: configuration)
      try await holder.writeWithoutTransaction { try $0.beginTransaction(.immediate) }
      let refused = try await add(server, token, "new")
      #expect(refused.status == 503 && refused.error == "busy", "\(refused.text)")
      #expect(try await names(server, token) == ["admin"])
      try await holder.writeWithoutTransaction { try $0.rollback() }
      // Once a heartbeat has shown that this is the master still.
      try await server.eventually("written") { try await add(server, token, "new").status == 201 }
      #expect(try await server.metric(losses) == 0)
      try holder.close()
    }
  }

  @Test func aFileThatCannotBeReadAnyMoreIsOpenedAnew() async throws {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    let path = directory + "/nebula.db"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let metrics = ServerMetrics()
    let access = DatabaseAccess(
      StorageOpener(path: path, logger: .quiet),
      metrics: metrics,
      logger: .quiet,
      onLoss: {}
    )
    @Sendable func count() async throws -> Int? {
      try await access.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM tenants") }
    }
    let group = ServiceGroup(services: [access], logger: .quiet)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      try await access.opened()
      #expect(try await count() == 0)
      let other = try DatabaseQueue(path: path)
      try await other.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
      try other.close()
      // In place: the file is the same, and only what reads it can tell.
      let file = try #require(FileHandle(forUpdatingAtPath: path))
      let contents = try #require(try file.readToEnd())
      try file.seek(toOffset: 0)
      try file.write(contentsOf: Data(repeating: 0x78, count: contents.count))
      while !metrics.text().contains("\n\(losses) 1\n") {
        await #expect(throws: (any Error).self) { try await count() }
      }
      await #expect(throws: APIError.self) { try await count() }
      try file.seek(toOffset: 0)
      try file.write(contentsOf: contents)
      try file.close()
      try await access.opened()
      #expect(try await count() == 0)
      await group.triggerGracefulShutdown()
      try await tasks.next()
    }
  }

  @Test func onlyWhatWasCertainlyNotMadeMayBeTriedAgainUnseen() async throws {
    let configuration = try ServerSettings(
      flags: [:],
      environment: ["NEBULAGC_HMAC_SECRET": LiveServer.secret],
      file: [:]
    ).configuration()
    let metrics = ServerMetrics()
    let gateway = Gateway(
      status: HAStatus(configuration, metrics: metrics, logger: .quiet),
      metrics: metrics,
      clock: .system,
      logger: .quiet
    )
    let unknown = gateway.refusal(
      StorageError.outcomeUnknown(DatabaseError(resultCode: .SQLITE_IOERR))
    )
    #expect(unknown.status == .internalServerError && unknown.code == "outcome_unknown")
    #expect(unknown.retryAfter == nil)
    let certain: [(any Error, String)] = [
      (StorageError.noAnswer, "database_unavailable"),
      (StorageError.undone, "database_unavailable"),
      (StorageError.tooManyWrites, "busy"), (StorageError.tooManyReads, "busy"),
      (DatabaseError(resultCode: .SQLITE_IOERR_WRITE), "database_unavailable"),
      (DatabaseError(resultCode: .SQLITE_READONLY_DBMOVED), "database_unavailable"),
      (DatabaseError(resultCode: .SQLITE_READONLY), "not_master"),
      (DatabaseError(resultCode: .SQLITE_BUSY), "busy"),
    ]
    for (error, code) in certain {
      let refusal = gateway.refusal(error)
      #expect(refusal.status == .serviceUnavailable && refusal.code == code, "\(error)")
      #expect(refusal.retryAfter != nil)
    }
  }
}
