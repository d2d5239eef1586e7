/// The part of `/metrics` that is read off the node's status.
enum StatusMetrics {
  /// Databases beyond this are left out; a label for each of many thousands helps nobody.
  static let maximumDatabases = 1000

  static func text(_ status: NodeStatus, isReady: Bool) -> String {
    var output = PrometheusText()
    node(status.node, isReady: isReady, &output)
    databases(status.databases, &output)
    peers(status.peers, &output)
    if let progress = status.scrub { scrub(progress, &output) }
    output.gauge(
      "halite_quarantined",
      help: "Log tails set aside because they were not the cluster's.",
      Double(status.quarantine.count)
    )
    output.gauge(
      "halite_problems",
      help: "What keeps the node from taking writes or following, such as a full disk.",
      Double(status.problems.count + status.databases.count { $0.problem != nil })
    )
    if let lease = status.lease { Self.lease(lease, &output) }
    output.gauge("halite_waiting", help: "Requests that wait.", Double(status.waiting.count))
    return output.text
  }

  private static func lease(_ lease: NodeStatus.Lease, _ output: inout PrometheusText) {
    output.gauge(
      "halite_elections",
      help: "How often this node was elected since its start.",
      Double(lease.elections)
    )
    output.gauge(
      "halite_hand_overs",
      help: "How often this node has handed the lease over since its start.",
      Double(lease.handOvers)
    )
    output.gauge(
      "halite_commits_waiting",
      help: "Transactions that wait for a majority of the voters.",
      Double(lease.commitsWaiting)
    )
    output.gauge(
      "halite_voters_connected",
      help: "Other voters that this node reaches.",
      Double(lease.votersConnected)
    )
    if let remaining = lease.remainingMilliseconds {
      output.gauge(
        "halite_lease_remaining_seconds",
        help: "How long the primary may go on without further word from a majority.",
        Double(remaining) / 1000
      )
    }
  }

  private static func node(
    _ node: NodeStatus.Member,
    isReady: Bool,
    _ output: inout PrometheusText
  ) {
    output.gauge("halite_is_primary", help: "1 on the primary.", node.role == .primary ? 1 : 0)
    output.gauge("halite_ready", help: "1 when the node may take traffic.", isReady ? 1 : 0)
    output.gauge("halite_term", help: "The term of the current primary.", Double(node.term))
    output.gauge(
      "halite_commit_index",
      help: "Last entry known to be committed.",
      Double(node.commitIndex)
    )
    output.gauge(
      "halite_applied_index",
      help: "Last entry applied to the databases here.",
      Double(node.appliedIndex)
    )
    if let lag = node.lagMilliseconds {
      output.gauge(
        "halite_lag_seconds",
        help: "How far this node is behind the primary.",
        Double(lag) / 1000
      )
    }
    output.gauge("halite_uptime_seconds", help: "Time since start.", Double(node.uptimeSeconds))
  }

  private static func databases(_ all: [NodeStatus.Database], _ output: inout PrometheusText) {
    output.gauge("halite_db_count", help: "Databases.", Double(all.count))
    let databases = all.prefix(maximumDatabases)
    output.gauge(
      "halite_db_txid",
      help: "Position of a database.",
      label: "db",
      databases.map { ($0.name, Double(UInt64($0.txid, radix: 16) ?? 0)) }
    )
    output.gauge(
      "halite_db_pages",
      help: "Pages of a database.",
      label: "db",
      databases.map { ($0.name, Double($0.pages)) }
    )
    output.gauge(
      "halite_db_damaged_pages",
      help: "Pages of a database that are not what was committed; at most 100 are counted.",
      label: "db",
      databases.compactMap { database in
        database.damagedPages.map { (database.name, Double($0.count)) }
      }
    )
  }

  private static func scrub(_ scrub: NodeStatus.Scrub, _ output: inout PrometheusText) {
    output.counter(
      "halite_scrub_pages_total",
      help: "Pages compared with their checksums.",
      Double(scrub.scrubbedPages)
    )
    output.counter(
      "halite_scrub_bytes_total",
      help: "Bytes of pages compared with their checksums.",
      Double(scrub.scrubbedBytes)
    )
    output.counter(
      "halite_scrub_damaged_pages_total",
      help: "Pages found not to be what was committed.",
      Double(scrub.damagedPages)
    )
    output.counter(
      "halite_scrub_passes_total",
      help: "Complete passes over all databases.",
      Double(scrub.passes)
    )
    if let last = scrub.lastPass {
      output.gauge(
        "halite_scrub_last_pass_timestamp_seconds",
        help: "When the last complete pass ended.",
        Double(last) / 1000
      )
    }
    output.gauge(
      "halite_scrub_position_pages",
      help: "Pages read of the database that is being scrubbed.",
      label: "db",
      scrub.database.map { [($0, Double(scrub.page))] } ?? []
    )
  }

  private static func peers(_ peers: [NodeStatus.Peer], _ output: inout PrometheusText) {
    output.gauge(
      "halite_peers_connected",
      help: "Peers with a connection.",
      Double(peers.count { $0.connected })
    )
    output.gauge(
      "halite_peer_connected",
      help: "1 while a peer has a connection.",
      label: "peer",
      peers.map { ($0.name, $0.connected ? 1 : 0) }
    )
    output.gauge(
      "halite_peer_lag_seconds",
      help: "How far a peer is behind the primary.",
      label: "peer",
      peers.compactMap { peer in
        peer.lagMilliseconds.map { (peer.name, Double($0) / 1000) }
      }
    )
    output.gauge(
      "halite_peer_match_index",
      help: "Last entry a peer is known to have.",
      label: "peer",
      peers.map { ($0.name, Double($0.matchIndex)) }
    )
  }
}
