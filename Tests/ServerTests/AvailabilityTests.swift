import Foundation
import GRDB
import Testing

@testable import Server

/// What operators, balancers and Prometheus see of a server.
@Suite(.timeLimit(.minutes(2))) struct AvailabilityTests {
  @Test func healthSaysWhatTheServerIs() async throws {
    try await LiveServer.with { server in
      try await server.eventually("master") {
        try await server.send("GET", "/health/master").status == 200
      }
      let health = try await server.send("GET", "/health")
      #expect(health.status == 200)
      #expect(health.value("ha_mode") == AnyHashable("master"))
      #expect(health.value("status") == AnyHashable("healthy"))
      #expect(health.value("version") == AnyHashable(ServerVersion.text))
      #expect(health.value("database", "status") == AnyHashable("connected"))
      #expect(try await server.send("GET", "/version").value("version") != nil)
      #expect(try await server.send("HEAD", "/health").status == 200)
      #expect(try await server.send("GET", "/health/live").value("data", "status") != nil)
    }
  }

  @Test func theServerFollowsTheFileBesideItsDatabase() async throws {
    try await LiveServer.with { server in
      let file = server.directory + "/.primary"
      func isMaster() async throws -> Bool {
        try await server.send("GET", "/health/master").status == 200
      }
      try await server.eventually("master") { try await isMaster() }
      try Data("node2\n".utf8).write(to: URL(fileURLWithPath: file))
      try await server.eventually("replica") { try await !isMaster() }
      #expect(try await server.metric("nebulagc_ha_is_master") == 0)
      try FileManager.default.removeItem(atPath: file)
      try await server.eventually("master again") { try await isMaster() }
      #expect(try await server.metric("nebulagc_ha_is_master") == 1)
      let name = "nebulagc_ha_state_transitions_total"
      let away = #"{from_state="master",to_state="replica"}"#
      let back = #"{from_state="replica",to_state="master"}"#
      #expect(try await server.metric(name + away) == 1)
      #expect(try await server.metric(name + back) == 1)
    }
  }

  /// The master of a part that was cut off waits for a lock that nobody gives.
  @Test func aMasterWhoseHeartbeatHangsIsNone() async throws {
    try await LiveServer.with(["NEBULAGC_HEARTBEAT_SECONDS": "0.1"]) { server in
      func isMaster() async throws -> Bool {
        try await server.send("GET", "/health/master").status == 200
      }
      try await server.eventually("master") { try await isMaster() }
      let made = try await server.makeCluster()
      var configuration = Configuration()
      configuration.allowsUnsafeTransactions = true
      let other = try DatabaseQueue(path: server.database, configuration: configuration)
      try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
      let start = ContinuousClock.now
      try await server.eventually("none") { try await !isMaster() }
      // Before a lock is no longer waited for.
      #expect(ContinuousClock.now - start < .seconds(Storage.busySeconds))
      #expect(try await server.metric("nebulagc_ha_heartbeat_errors_total") ?? 0 > 0)
      // Nobody waits here for a lock while another server may be the master.
      let path = "/api/v1/nodes"
      let refused = try await server.send(
        "POST",
        path,
        token: made.nodeToken,
        json: #"{"name":"x"}"#
      )
      #expect(refused.status == 503 && refused.error == "no_master")
      #expect(refused.headers["retry-after"] == "1")
      try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
      try await server.eventually("master again") { try await isMaster() }
    }
  }

  @Test func aGuardedReplicaSendsWritersToTheMaster() async throws {
    let settings = [
      "NEBULAGC_HA_MODE": "replica", "NEBULAGC_MASTER_URL": "http://there.example:80",
    ]
    try await LiveServer.with(settings) { server in
      let made = try await server.makeCluster()
      let refused = try await server.send(
        "POST",
        "/api/v1/nodes",
        token: made.nodeToken,
        json: #"{"name":"x"}"#
      )
      #expect(refused.status == 503 && refused.error == "not_master")
      #expect(refused.value("master_url") == AnyHashable("http://there.example:80"))
      #expect(refused.headers["x-nebulagc-master-url"] == "http://there.example:80")
      #expect(refused.headers["retry-after"] == "1")
      #expect(try await server.send("GET", "/api/v1/nodes", token: made.nodeToken).status == 200)
      #expect(try await server.send("GET", "/health").value("ha_mode") == AnyHashable("replica"))
      #expect(try await server.send("GET", "/health").status == 200)
      #expect(try await server.send("GET", "/health/master").status == 503)
    }
    try await LiveServer.with(settings.merging(["NEBULAGC_WRITE_GUARD": "off"]) { $1 }) { server in
      let made = try await server.makeCluster()
      let done = try await server.send(
        "POST",
        "/api/v1/nodes",
        token: made.nodeToken,
        json: #"{"name":"x"}"#
      )
      #expect(done.status == 201)
    }
  }

  @Test func aServerWaitsForItsDatabase() async throws {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try await LiveServer.with(directory: directory) { server in
      #expect(try await server.send("GET", "/health/live").status == 200)
      try await server.eventually("a reason") {
        let reply = try await server.send("GET", "/health/ready")
        return reply.status == 503 && reply.text.contains("does not exist yet")
      }
      #expect(try await server.send("GET", "/health").status == 503)
      let token = String(repeating: "x", count: 44)
      #expect(try await server.send("GET", "/api/v1/nodes", token: token).error == "not_ready")
      #expect(try await server.metric("nebulagc_db_ready") == 0)
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      try await server.untilReady()
      #expect(try await server.metric("nebulagc_db_ready") == 1)
    }
  }

  @Test func serversOfOneDatabaseKnowEachOther() async throws {
    try await LiveServer.with { server in
      try await server.eventually("master") {
        try await server.send("GET", "/health/master").status == 200
      }
      let other = [
        "NEBULAGC_HA_MODE": "replica", "NEBULAGC_PUBLIC_URL": "http://second.example:8080",
        "NEBULAGC_DB_PATH": server.database,
      ]
      try await LiveServer.with(other) { second in
        try await second.eventually("the master's address") {
          try await second.send("GET", "/health").value("master_url")
            == AnyHashable("http://here.example:8080")
        }
        try await server.eventually("one replica") {
          try await server.metric("nebulagc_ha_replicas_total") == 1
        }
        let newest = try #require(try await second.metric("nebulagc_ha_last_heartbeat"))
        #expect(abs(newest - Date().timeIntervalSince1970) < 30)
      }
      // A server that stops takes its row along.
      try await server.eventually("no replica") {
        try await server.metric("nebulagc_ha_replicas_total") == 0
      }
    }
  }

  @Test func heartbeatsKeepTheirDistance() async throws {
    try await LiveServer.with { server in
      try await server.eventually("master") {
        try await server.send("GET", "/health/master").status == 200
      }
      let name = "nebulagc_ha_heartbeats_total"
      let (begun, first) = (ContinuousClock.now, try await server.metric(name) ?? 0)
      try await server.eventually("ten heartbeats") {
        try await server.metric(name) ?? 0 >= first + 10
      }
      // One may have been due at once, and one come before its time since the server had become the master.
      #expect(ContinuousClock.now - begun > .milliseconds(8 * 200))
    }
  }

  @Test func limitsHoldAndSayWhenToComeAgain() async throws {
    let settings = ["NEBULAGC_RATELIMIT_NODES": "0.01/2", "NEBULAGC_RATELIMIT_IP": "0.01/5"]
    try await LiveServer.with(settings) { server in
      let made = try await server.makeCluster()
      var statuses: [Int] = []
      var last: LiveServer.Reply?
      for _ in 0..<6 {
        last = try await server.send("GET", "/api/v1/nodes", token: made.nodeToken)
        statuses.append(last?.status ?? 0)
      }
      #expect(statuses == [200, 200, 429, 429, 429, 429])
      #expect(last?.error == "rate_limit_exceeded")
      #expect(Int(last?.headers["retry-after"] ?? "") ?? 0 > 0)
      // Nobody's probes are held up.
      #expect(try await server.send("GET", "/health").status == 200)
      #expect(
        try await server.metric(#"nebulagc_ratelimit_blocks_total{limit_type="nodes"}"#) == 3
      )
      #expect(try await server.metric(#"nebulagc_ratelimit_blocks_total{limit_type="ip"}"#) == 1)
    }
  }

  @Test func everyMetricOfTheGuideIsThereFromTheStart() async throws {
    try await LiveServer.with { server in
      let text = try await server.send("GET", "/metrics").text
      for name in [
        "nebulagc_ha_is_master", "nebulagc_ha_heartbeat_errors_total",
        "nebulagc_ha_heartbeat_duration_seconds", "nebulagc_ha_replicas_total",
        "nebulagc_ha_last_heartbeat",
      ] {
        #expect(text.contains("\n\(name) "), "\(name)")
      }
      #expect(try await server.send("GET", "/no/such/path").status == 404)
      let unknown = #"nebulagc_http_requests_total{method="GET",path="unmatched",status="404"}"#
      #expect(try await server.metric(unknown) == 1)
    }
  }

  @Test func pagesOfAnotherOriginMayAskWhereThatIsConfigured() async throws {
    let settings = ["NEBULAGC_CORS_ORIGINS": "https://a.example, https://b.example"]
    try await LiveServer.with(settings) { server in
      for (origin, allowed) in [
        ("https://b.example", "https://b.example"), ("https://c.example", nil),
      ] {
        let reply = try await server.send(
          "GET",
          "/api/v1/nodes",
          headers: ["Origin": origin]
        )
        #expect(reply.status == 401)
        #expect(reply.headers["access-control-allow-origin"] == allowed)
      }
    }
  }
}
