import GRDB
import HTTPTypes
import Hummingbird
import NIOCore

/// What probes, balancers and Prometheus ask. None of it needs a token, and none of it has a limit.
extension ServerAPI {
  private struct Health: Encodable {
    let status: String
    let ha_mode: String
    let version: String
    let instance_id: String
    let master_url: String?
    let database: DatabaseHealth
  }

  private struct DatabaseHealth: Encodable {
    let status: String
    let reason: String?
  }

  private struct Live: Encodable {
    let status: String
    let instance_id: String
  }

  private struct Ready: Encodable {
    let status: String
    let instance_id: String
    let database: String
  }

  private struct Master: Encodable {
    let is_master: Bool
    let instance_id: String
    let master_url: String?
  }

  private struct Version: Encodable {
    let version: String
    let name: String
  }

  func addHealth(to router: Router<Context>) {
    router.get("/health") { _, _ in try await health() }
    router.get("/health/live") { _, _ in
      try Answer.data(Live(status: "ok", instance_id: configuration.instanceID))
    }
    router.get("/health/ready") { _, _ in
      if let reason = await databaseProblem() {
        throw APIError(.serviceUnavailable, "unhealthy", reason)
      }
      return try Answer.data(
        Ready(status: "ready", instance_id: configuration.instanceID, database: "connected")
      )
    }
    router.get("/health/master") { _, _ in try await master() }
    router.get("/version") { _, _ in
      try Answer.json(Version(version: ServerVersion.text, name: "nebulagc-server"), .ok)
    }
    router.get("/metrics") { _, _ in
      Response(
        status: .ok,
        headers: Answer.headers("text/plain; version=0.0.4; charset=utf-8"),
        body: .init(byteBuffer: ByteBuffer(string: metrics.text()))
      )
    }
  }

  /// Why nothing can be read now; nil when it can.
  private func databaseProblem() async -> String? {
    do {
      _ = try await access.read {
        try Int.fetchOne($0, sql: "SELECT count(*) FROM tenants")
      }
      return nil
    } catch let error as APIError {
      return error.message
    } catch {
      return await StorageOpener.reason(error, configuration.database)
    }
  }

  /// 200 while this server can answer reads, whatever it is.
  private func health() async throws -> Response {
    let problem = await databaseProblem()
    return try Answer.json(
      Health(
        status: problem == nil ? "healthy" : "unhealthy",
        ha_mode: status.mode,
        version: ServerVersion.text,
        instance_id: configuration.instanceID,
        master_url: status.masterURL,
        database: DatabaseHealth(
          status: problem == nil ? "connected" : "unavailable",
          reason: problem
        )
      ),
      problem == nil ? .ok : .serviceUnavailable
    )
  }

  /// 200 only where writes go, so that a balancer can send them there.
  private func master() async throws -> Response {
    let problem = await databaseProblem()
    let isMaster = status.isMaster && problem == nil
    return try Answer.data(
      Master(
        is_master: isMaster,
        instance_id: configuration.instanceID,
        master_url: status.masterURL
      ),
      status: isMaster ? .ok : .serviceUnavailable
    )
  }
}
