import Foundation
import Testing

/// The first application: the control-plane server, which knows nothing of the mount but the file `.primary`.
@Suite(.serialized)
struct ControlPlaneTests {
  @Test(
    "Servers on all nodes read and write, and follow a failover",
    .timeLimit(.minutes(3)),
    arguments: ["async", "quorum"]
  )
  func failsOver(sync: String) async throws {
    try await withVoters(ttl: "2s", sync: sync) { cluster, nodes in
      let result = try await Command.python(
        "control_plane.py",
        [Node.sibling("nebulagc-server"), cluster.directory]
          + nodes.map { "\($0.mount):\($0.processIdentifier)" },
        seconds: 120
      )
      print("\(sync): \(result.output)")
      #expect(result.isSuccess, "\(result.output.suffix(6000)) \(nodes.map(\.report))")
      let killed = try #require(nodes.first { result.output.contains("killed \($0.mount)\n") })
      try await killed.crash()
    }
  }
}
