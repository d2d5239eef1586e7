package import CoreMetrics

/// The metrics of a node, each made once.
///
/// What is a state rather than an event (role, positions, lag, peers) is not kept here: `/metrics`
/// reads it from the node's status when it is fetched (`StatusMetrics`).
package struct NodeMetrics: Sendable {
  /// Transactions this node recorded as primary.
  package let commits: Counter
  /// Transactions of the primary applied to local databases.
  package let applied: Counter
  package let logBytes: Gauge
  package let logFirstIndex: Gauge
  package let logLastIndex: Gauge
  package let snapshotsSent: Counter
  package let snapshotsReceived: Counter
  package let connectionsOpened: Counter
  package let errors: Counter

  private let factory: any MetricsFactory

  package init(factory: any MetricsFactory) {
    self.factory = factory
    func counter(_ name: String, _ dimensions: [(String, String)] = []) -> Counter {
      Counter(label: name, dimensions: dimensions, factory: factory)
    }
    func gauge(_ name: String) -> Gauge { Gauge(label: name, factory: factory) }
    commits = counter("halite_commits_total")
    applied = counter("halite_applied_total")
    logBytes = gauge("halite_log_size_bytes")
    logFirstIndex = gauge("halite_log_first_index")
    logLastIndex = gauge("halite_log_last_index")
    snapshotsSent = counter("halite_snapshots_total", [("direction", "sent")])
    snapshotsReceived = counter("halite_snapshots_total", [("direction", "received")])
    connectionsOpened = counter("halite_connections_total", [("event", "opened")])
    errors = counter("halite_errors_total")
  }

  /// A connection or a message refused, for one of a few reasons.
  package func refused(_ reason: String) {
    Counter(label: "halite_refusals_total", dimensions: [("reason", reason)], factory: factory)
      .increment()
  }

  package static let descriptions: [String: PrometheusRegistry.Description] = [
    "halite_commits_total": .init(help: "Transactions recorded as primary."),
    "halite_applied_total": .init(help: "Transactions of the primary applied here."),
    "halite_log_size_bytes": .init(help: "Bytes of the log on disk."),
    "halite_log_first_index": .init(help: "Index of the first entry still in the log."),
    "halite_log_last_index": .init(help: "Index of the last entry in the log."),
    "halite_snapshots_total": .init(help: "Databases sent to or received from a peer as a whole."),
    "halite_connections_total": .init(help: "Connections with peers that were opened."),
    "halite_refusals_total": .init(help: "Connections and messages refused, by reason."),
    "halite_errors_total": .init(help: "Failures that were logged as errors."),
  ]
}
