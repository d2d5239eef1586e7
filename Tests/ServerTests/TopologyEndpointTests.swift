import Foundation
import Testing

@testable import Server

@Suite(.timeLimit(.minutes(2))) struct TopologyEndpointTests {
  @Test func lighthousesRelaysAndRoutesComeAndGo() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let (id, cluster) = (made.nodeID, made.clusterToken)
      func post(_ path: String, _ json: String) async throws -> Int {
        try await server.send("POST", path, cluster: cluster, json: json).status
      }
      let lighthouse = "/api/v1/topology/lighthouse"
      #expect(try await post(lighthouse, #"{"node_id":"\#(id)","public_ip":"203.0.113.9"}"#) == 200)
      #expect(try await post(lighthouse, #"{"node_id":"nobody","public_ip":"203.0.113.9"}"#) == 404)
      #expect(try await post(lighthouse, #"{"node_id":"\#(id)","public_ip":"1.2.3"}"#) == 422)
      #expect(try await post(lighthouse, #"{"node_id":"\#(id)"}"#) == 400)
      #expect(try await post("/api/v1/topology/relay", #"{"node_id":"\#(id)"}"#) == 200)
      let routes = try await server.send(
        "PUT",
        "/api/v1/routes",
        token: made.nodeToken,
        json: #"{"routes":["10.1.0.0/16","fd00::/8"]}"#
      )
      #expect(routes.status == 200)
      let wrong = try await server.send(
        "PUT",
        "/api/v1/routes",
        token: made.nodeToken,
        json: #"{"routes":["10.1.0.0"]}"#
      )
      #expect(wrong.status == 422)

      let topology = try await server.send("GET", "/api/v1/topology", cluster: cluster)
      #expect(topology.text.contains(#""public_ip":"203.0.113.9""#))
      #expect(topology.text.contains(#""\#(id)":["10.1.0.0/16","fd00::/8"]"#))
      let all = try await server.send("GET", "/api/v1/routes/cluster", token: made.nodeToken)
      #expect(all.text.contains("fd00::/8"))

      for path in ["\(lighthouse)/\(id)", "/api/v1/topology/relay/\(id)"] {
        #expect(try await server.send("DELETE", path, cluster: cluster).status == 200)
        #expect(try await server.send("DELETE", path, cluster: cluster).status == 404)
      }
      let empty = try await server.send("GET", "/api/v1/topology", cluster: cluster)
      #expect(empty.text.contains(#""lighthouses":[]"#) && empty.text.contains(#""relays":[]"#))
    }
  }

  @Test func aRotatedClusterTokenIsTheOnlyOne() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let path = "/api/v1/tokens/cluster/rotate"
      let rotated = try await server.send("POST", path, cluster: made.clusterToken)
      let token = try #require(rotated.value("data", "token") as? String)
      #expect(try await server.send("POST", path, cluster: made.clusterToken).status == 401)
      #expect(try await server.send("GET", "/api/v1/topology", cluster: token).status == 200)
    }
  }
}
