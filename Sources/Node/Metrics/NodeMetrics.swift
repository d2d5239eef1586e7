package import CoreMetrics

/// The metrics of a node, each made once.
///
/// What is a state rather than an event (role, positions, lag, peers) is not kept here: `/metrics`
/// reads it from the node's status when it is fetched (`StatusMetrics`).
package struct NodeMetrics: Sendable {
  /// Transactions this node recorded as primary.
  package let commits: Counter
  /// From the write that commits to its reply.
  package let commitLatency: Timer
  package let capturedPages: Counter
  /// Transactions of the primary applied to local databases.
  package let applied: Counter
  package let applyLatency: Timer
  package let logBytesAppended: Counter
  package let logBytes: Gauge
  package let logFirstIndex: Gauge
  package let logLastIndex: Gauge
  package let fuseRequests: Counter
  package let fuseParked: Counter
  package let snapshotsSent: Counter
  package let snapshotsReceived: Counter
  package let snapshotBytes: Counter
  package let connectionsOpened: Counter
  package let connectionsLost: Counter
  package let errors: Counter

  private let factory: any MetricsFactory

  package init(factory: any MetricsFactory) {
    self.factory = factory
    func counter(_ name: String, _ dimensions: [(String, String)] = []) -> Counter {
      Counter(label: name, dimensions: dimensions, factory: factory)
    }
    func gauge(_ name: String) -> Gauge { Gauge(label: name, factory: factory) }
    func timer(_ name: String) -> Timer { Timer(label: name, factory: factory) }
    commits = counter("halite_commits_total")
    commitLatency = timer("halite_commit_seconds")
    capturedPages = counter("halite_captured_pages_total")
    applied = counter("halite_applied_total")
    applyLatency = timer("halite_apply_seconds")
    logBytesAppended = counter("halite_log_appended_bytes_total")
    logBytes = gauge("halite_log_size_bytes")
    logFirstIndex = gauge("halite_log_first_index")
    logLastIndex = gauge("halite_log_last_index")
    fuseRequests = counter("halite_fuse_requests_total")
    fuseParked = counter("halite_fuse_parked_total")
    snapshotsSent = counter("halite_snapshots_total", [("direction", "sent")])
    snapshotsReceived = counter("halite_snapshots_total", [("direction", "received")])
    snapshotBytes = counter("halite_snapshot_bytes_total")
    connectionsOpened = counter("halite_connections_total", [("event", "opened")])
    connectionsLost = counter("halite_connections_total", [("event", "lost")])
    errors = counter("halite_errors_total")
  }

  /// A connection or a message refused, for one of a few reasons.
  package func refused(_ reason: String) {
    Counter(label: "halite_refusals_total", dimensions: [("reason", reason)], factory: factory)
      .increment()
  }

  package static let descriptions: [String: PrometheusRegistry.Description] = [
    "halite_commits_total": .init(help: "Transactions recorded as primary."),
    "halite_commit_seconds": .init(
      help: "Time from the write that commits a transaction to its reply.",
      buckets: PrometheusRegistry.latencyBuckets
    ),
    "halite_captured_pages_total": .init(help: "Pages of recorded transactions."),
    "halite_applied_total": .init(help: "Transactions of the primary applied here."),
    "halite_apply_seconds": .init(
      help: "Time to apply a transaction of the primary.",
      buckets: PrometheusRegistry.latencyBuckets
    ),
    "halite_log_appended_bytes_total": .init(help: "Bytes appended to the log."),
    "halite_log_size_bytes": .init(help: "Bytes of the log on disk."),
    "halite_log_first_index": .init(help: "Index of the first entry still in the log."),
    "halite_log_last_index": .init(help: "Index of the last entry in the log."),
    "halite_fuse_requests_total": .init(help: "Requests of the kernel to the mount."),
    "halite_fuse_parked_total": .init(help: "Requests that had to wait."),
    "halite_snapshots_total": .init(help: "Databases sent to or received from a peer as a whole."),
    "halite_snapshot_bytes_total": .init(help: "Bytes of pages in snapshots, sent or received."),
    "halite_connections_total": .init(help: "Connections with peers, opened and lost."),
    "halite_refusals_total": .init(help: "Connections and messages refused, by reason."),
    "halite_errors_total": .init(help: "Failures that were logged as errors."),
  ]
}
