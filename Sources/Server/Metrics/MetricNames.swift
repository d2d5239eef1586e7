/// What is measured. The guide for operators names these, so none of them may change.
enum MetricNames {
  static let requests = "nebulagc_http_requests_total"
  static let requestSeconds = "nebulagc_http_request_duration_seconds"
  static let responseBytes = "nebulagc_http_response_size_bytes"
  static let inFlight = "nebulagc_http_requests_in_flight"
  static let limitChecks = "nebulagc_ratelimit_checks_total"
  static let limitBlocks = "nebulagc_ratelimit_blocks_total"
  static let isMaster = "nebulagc_ha_is_master"
  static let heartbeatSeconds = "nebulagc_ha_heartbeat_duration_seconds"
  static let heartbeats = "nebulagc_ha_heartbeats_total"
  static let heartbeatErrors = "nebulagc_ha_heartbeat_errors_total"
  static let transitions = "nebulagc_ha_state_transitions_total"
  static let replicas = "nebulagc_ha_replicas_total"
  static let lastHeartbeat = "nebulagc_ha_last_heartbeat"
  static let nodes = "nebulagc_nodes_total"
  static let clusters = "nebulagc_clusters_total"
  static let bundles = "nebulagc_bundle_operations_total"
  static let databaseReady = "nebulagc_db_ready"
  static let databaseLosses = "nebulagc_db_losses_total"
  static let info = "nebulagc_build_info"

  /// Families that have no sample until one of their label sets is seen.
  static let labelled: Set = [requests, limitChecks, limitBlocks, transitions, bundles, info]

  static let families: [String: ServerMetrics.Family] = [
    requests: .init(kind: .counter, help: "Requests answered, by route pattern."),
    requestSeconds: .init(
      kind: .histogram,
      help: "Time from a request's head to its answer.",
      bounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    ),
    responseBytes: .init(
      kind: .histogram,
      help: "Size of answers' bodies.",
      bounds: [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]
    ),
    inFlight: .init(kind: .gauge, help: "Requests being answered."),
    limitChecks: .init(kind: .counter, help: "Requests held against a rate limit."),
    limitBlocks: .init(kind: .counter, help: "Requests refused by a rate limit."),
    isMaster: .init(kind: .gauge, help: "1 where writes go, else 0."),
    heartbeatSeconds: .init(
      kind: .gauge,
      help: "How long this server's last heartbeat took to be committed."
    ),
    heartbeats: .init(kind: .counter, help: "Heartbeats that were committed."),
    heartbeatErrors: .init(kind: .counter, help: "Heartbeats that could not be committed."),
    transitions: .init(kind: .counter, help: "Changes of this server's HA state."),
    replicas: .init(kind: .gauge, help: "Other servers than the master heard of in the last 30 s."),
    lastHeartbeat: .init(
      kind: .gauge,
      help: "Time of the newest heartbeat of any server in this server's database, in s since 1970."
    ),
    nodes: .init(kind: .gauge, help: "Nodes of all clusters."),
    clusters: .init(kind: .gauge, help: "Clusters of all tenants."),
    bundles: .init(kind: .counter, help: "Bundles stored and handed out."),
    databaseReady: .init(kind: .gauge, help: "1 while the database can be used."),
    databaseLosses: .init(
      kind: .counter,
      help: "How often what was open was no longer the database, and was opened anew."
    ),
    info: .init(kind: .gauge, help: "1, with the version of this server."),
  ]
}
