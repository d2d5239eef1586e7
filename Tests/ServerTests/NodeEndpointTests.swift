import Foundation
import Testing

@testable import Server

@Suite(.timeLimit(.minutes(2))) struct NodeEndpointTests {
  @Test func aNodeIsMadeChangedAndRemoved() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let admin = made.nodeToken
      let created = try await server.send(
        "POST",
        "/api/v1/nodes",
        token: admin,
        cluster: made.clusterToken,
        json: #"{"name":"n1","mtu":1400}"#
      )
      #expect(created.status == 201, "\(created.text)")
      let id = try #require(created.value("data", "node_id") as? String)
      let token = try #require(created.value("data", "node_token") as? String)
      #expect(token.count == 44)
      #expect(created.value("data", "cluster_token") == AnyHashable(made.clusterToken))
      let version = try await server.send("GET", "/api/v1/config/version", token: token)
      #expect(version.value("data", "version") == AnyHashable(2))

      let list = try await server.send("GET", "/api/v1/nodes", token: admin)
      #expect(list.value("data", "total") == AnyHashable(2))
      #expect(list.text.contains(#""mtu":1400"#))
      let second = try await server.send(
        "GET",
        "/api/v1/nodes?page=2&page_size=1",
        token: admin
      )
      #expect(second.text.contains(id) && !second.text.contains(made.nodeID))

      let changed = try await server.send(
        "PATCH",
        "/api/v1/nodes/\(id)/mtu",
        token: admin,
        json: #"{"mtu":9000}"#
      )
      #expect(changed.value("data", "mtu") == AnyHashable(9000), "\(changed.text)")

      let rotated = try await server.send("POST", "/api/v1/nodes/\(id)/token", token: admin)
      let newToken = try #require(rotated.value("data", "node_token") as? String)
      for (each, status) in [(token, 401), (newToken, 200)] {
        let reply = try await server.send("GET", "/api/v1/config/version", token: each)
        #expect(reply.status == status)
      }
      let bearer = try await server.send(
        "GET",
        "/api/v1/routes",
        headers: ["Authorization": "Bearer \(newToken)"]
      )
      #expect(bearer.status == 200)

      #expect(try await server.send("DELETE", "/api/v1/nodes/\(id)", token: admin).status == 204)
      #expect(try await server.send("DELETE", "/api/v1/nodes/\(id)", token: admin).status == 404)
      #expect(try await server.send("GET", "/api/v1/routes", token: newToken).status == 401)
    }
  }

  @Test(
    arguments: [
      (#"{"nme":"x"}"#, 400, "invalid_request"), ("{", 400, "invalid_request"),
      (#"{"name":""}"#, 400, "invalid_request"), (#"{"name":7}"#, 400, "invalid_request"),
      (#"{"name":"x","mtu":100}"#, 400, "invalid_request"), (#"{"name":"admin"}"#, 409, "conflict"),
      (#"{"name":""# + String(repeating: "x", count: 70_000) + #""}"#, 413, "body_too_large"),
      (#"{"name":"ok","mtu":0}"#, 201, nil),
    ] as [(String, Int, String?)]
  )
  func bodiesAreChecked(body: String, status: Int, code: String?) async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let reply = try await server.send("POST", "/api/v1/nodes", token: made.nodeToken, json: body)
      #expect(reply.status == status, "\(reply.text)")
      #expect(reply.error == code)
      #expect(reply.headers["x-request-id"]?.count == 36)
    }
  }

  @Test func strangersAndOrdinaryNodesAreKeptOut() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let other = try await server.makeCluster("other")
      let created = try await server.send(
        "POST",
        "/api/v1/nodes",
        token: made.nodeToken,
        json: #"{"name":"ordinary"}"#
      )
      let ordinary = try #require(created.value("data", "node_token") as? String)
      let wrong = String(repeating: "x", count: 44)
      for token in [nil, "short", wrong, made.clusterToken] {
        let reply = try await server.send("GET", "/api/v1/nodes", token: token)
        #expect(reply.status == 401 && reply.error == "unauthorized")
        // Nobody looks at what they send.
        let sent = try await server.send("POST", "/api/v1/nodes", token: token, json: "{")
        #expect(sent.status == 401)
      }
      let refused = try await server.send("GET", "/api/v1/nodes", token: ordinary)
      #expect(refused.status == 403 && refused.error == "forbidden")
      // A node of one cluster is nobody in another.
      let foreign = try await server.send(
        "DELETE",
        "/api/v1/nodes/\(made.nodeID)",
        token: other.nodeToken
      )
      #expect(foreign.status == 404)
      let mixed = try await server.send(
        "POST",
        "/api/v1/nodes",
        token: made.nodeToken,
        cluster: other.clusterToken,
        json: #"{"name":"x"}"#
      )
      #expect(mixed.status == 401)
    }
  }

  @Test func manyWritesAtOnceAreAllMadeAndRefusedOnesHurtNobody() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 0..<60 {
          group.addTask {
            // Every third one takes a name that is taken.
            let name = number % 3 == 0 ? "admin" : "n\(number)"
            return try await server.send(
              "POST",
              "/api/v1/nodes",
              token: made.nodeToken,
              json: #"{"name":"\#(name)"}"#
            ).status
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.filter { $0 == 201 }.count == 40)
      #expect(statuses.filter { $0 == 409 }.count == 20)
      let list = try await server.send("GET", "/api/v1/nodes", token: made.nodeToken)
      #expect(list.value("data", "total") == AnyHashable(41))
      let version = try await server.send("GET", "/api/v1/config/version", token: made.nodeToken)
      #expect(version.value("data", "version") == AnyHashable(41))
    }
  }
}
