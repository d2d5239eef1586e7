import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

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

  @Test(
    "A server outlives the mount under its database",
    .timeLimit(.minutes(3)),
    arguments: [true, false]
  )
  func losesItsMount(passthrough: Bool) async throws {
    try await withCluster(replicas: 0, passthrough: passthrough) { cluster, nodes in
      let (node, rounds) = (nodes[0], 4)
      async let outcome = Command.python(
        "control_plane_lost.py",
        [Node.sibling("nebulagc-server"), cluster.directory, node.mount, "\(rounds)"],
        seconds: 150
      )
      func waitForFile(_ name: String) async throws {
        let file = cluster.directory + "/" + name
        try await Deadline.wait(seconds: 60, for: name) {
          FileManager.default.fileExists(atPath: file)
        }
      }
      for round in 0..<rounds {
        try await waitForFile("kill-\(round)")
        node.signal(SIGKILL)
        try await waitForFile("lost-\(round)")
        // Without passthrough the dead daemon waits for its own mount, and whoever writes there with it, until it is cut off.
        umount2(node.mount, Int32(MNT_FORCE))
        umount2(node.mount, Int32(MNT_DETACH))
        _ = try await node.waitForEnd(seconds: 30)
        try await node.start()
        _ = FileManager.default.createFile(
          atPath: "\(cluster.directory)/started-\(round)",
          contents: nil
        )
      }
      let result = try await outcome
      print("passthrough \(passthrough): \(result.output)")
      #expect(result.isSuccess, "\(result.output.suffix(6000)) \(node.report)")
    }
  }
}
