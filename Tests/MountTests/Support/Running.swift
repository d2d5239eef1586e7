import Testing

/// Runs nodes for a test, and expects them to end well; no process and no mount is left afterwards, whatever
/// happened.
///
/// - Parameter start: adds the nodes to those given, each before it is started.
func withNodes(
  _ start: (Cluster, inout [Node]) async throws -> Void,
  _ body: (Cluster, [Node]) async throws -> Void
) async throws {
  let cluster = try await Cluster()
  var nodes: [Node] = []
  defer {
    for node in nodes { node.discard() }
    cluster.remove()
  }
  try await start(cluster, &nodes)
  try await body(cluster, nodes)
  for node in nodes.reversed() {
    let code = try await node.stop()
    #expect(code == 0, "\(node.name) ended with \(code); its log: \(node.log.suffix(2000))")
  }
}

/// Runs a test on a primary and some replicas, all ready.
func withCluster(
  replicas: Int,
  passthrough: Bool = true,
  passesLogs: Bool = false,
  extra: String = "",
  _ body: (Cluster, [Node]) async throws -> Void
) async throws {
  try await withNodes(
    { cluster, nodes in
      _ = try await Command.run(["mkdir", "-p", cluster.directory + "/plain"])
      for number in 1...(replicas + 1) {
        let node = try await cluster.node(
          number,
          passthrough: passthrough,
          passesLogs: passesLogs,
          extra: extra
        )
        nodes.append(node)
        try await node.start()
      }
    },
    body
  )
}

/// Runs a test on three voters, all ready.
///
/// - Parameter extra: lines for their configuration.
func withVoters(
  ttl: String,
  sync: String = "async",
  extra: String = "",
  _ body: (Cluster, [Node]) async throws -> Void
) async throws {
  try await withNodes(
    { cluster, nodes in
      nodes = try await cluster.voters(3, ttl: ttl, sync: sync, extra: extra)
      for node in nodes { try await node.start(untilReady: false) }
      for node in nodes { try await node.waitUntilReady() }
    },
    body
  )
}

/// Checks that all nodes come to the same position of a database and have the same bytes there.
func expectSameBytes(
  _ name: String,
  _ nodes: [Node],
  seconds: Int = 30,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let result = try await Command.python(
    "same_bytes.py",
    ["\(seconds)", name] + nodes.map(\.mount),
    seconds: seconds + 60
  )
  #expect(result.isSuccess, "\(result.output.suffix(2000))", sourceLocation: sourceLocation)
}
