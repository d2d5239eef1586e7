import Foundation
import Logging
import Synchronization

/// What this server is at the moment, for everybody who asks, and where the master is.
final class HAStatus: Sendable {
  private struct State {
    var standing: Standing
    var masterURL: String?
  }

  private let state: Mutex<State>
  private let fixedMasterURL: String?
  private let metrics: ServerMetrics
  private let logger: Logger
  /// Asks for a heartbeat before its time.
  let wishes = Bell()

  init(_ configuration: ServerConfiguration, metrics: ServerMetrics, logger: Logger) {
    let standing = Standing(configuration.haMode)
    state = Mutex(State(standing: standing, masterURL: nil))
    fixedMasterURL = configuration.masterURL
    self.metrics = metrics
    self.logger = logger
    metrics.set(MetricNames.isMaster, to: standing.state == .master ? 1 : 0)
    // Whoever asks how much a counter rose has to have seen it before.
    for (old, new) in [("replica", "master"), ("master", "replica")] {
      metrics.add(MetricNames.transitions, ["from_state": old, "to_state": new], by: 0)
    }
  }

  var standing: Standing { state.withLock { $0.standing } }
  var isMaster: Bool { standing.state == .master }

  /// `master` or `replica`; a server that does not know yet takes no writes, as a replica.
  var mode: String { isMaster ? "master" : "replica" }

  /// Where clients should write instead; nil on the master and when nobody knows.
  var masterURL: String? {
    state.withLock { $0.standing.state == .master ? nil : fixedMasterURL ?? $0.masterURL }
  }

  func setMasterURL(_ url: String?) { state.withLock { $0.masterURL = url } }

  func wishForHeartbeat() { wishes.ring() }

  /// Tells the machine something, and the world when that changed what this server is.
  func update(_ body: (inout Standing) -> Void) {
    let (old, new) = state.withLock { state in
      let old = state.standing
      body(&state.standing)
      return (old, state.standing)
    }
    if old.primary != nil, new.primary == nil { wishForHeartbeat() }
    guard old.state != new.state else { return }
    metrics.set(MetricNames.isMaster, to: new.state == .master ? 1 : 0)
    metrics.add(
      MetricNames.transitions,
      ["from_state": old.state.rawValue, "to_state": new.state.rawValue]
    )
    logger.notice(
      "The HA state changed",
      metadata: [
        "from": "\(old.state.rawValue)", "to": "\(new.state.rawValue)",
        "primary": "\(new.primary ?? "unknown")",
      ]
    )
  }
}
