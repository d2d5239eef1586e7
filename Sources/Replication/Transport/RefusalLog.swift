import Logging
import NIOCore
import Synchronization

/// Counts every peer that was turned away, and logs each address and reason once.
///
/// A peer with a wrong certificate comes back every two seconds; a scanner comes with many connections.
/// The log must name them and must not fill up with them.
final class RefusalLog: Sendable {
  /// Pairs of address and reason remembered; with more, the oldest may be logged again.
  static let capacity = 1_024

  private struct Key: Hashable {
    var address: String
    var reason: RefusalReason
  }
  private struct State {
    var known: Set<Key> = []
    /// In the order in which they came; a ring once full.
    var order: [Key] = []
    var oldest = 0

    /// False when the pair was known.
    mutating func remember(_ key: Key) -> Bool {
      guard known.insert(key).inserted else { return false }
      if order.count < RefusalLog.capacity {
        order.append(key)
      } else {
        known.remove(order[oldest])
        order[oldest] = key
        oldest = (oldest + 1) % order.count
      }
      return true
    }
  }
  private let state = Mutex(State())
  private let logger: Logger
  private let metrics: ReplicationMetrics

  init(logger: Logger, metrics: ReplicationMetrics) {
    self.logger = logger
    self.metrics = metrics
  }

  func refuse(_ address: SocketAddress?, _ reason: RefusalReason, _ text: String) {
    metrics.count { $0.refusals[reason, default: 0] += 1 }
    // Without the port, which is another one each time.
    let key = Key(address: address?.ipAddress ?? "unknown", reason: reason)
    guard state.withLock({ $0.remember(key) }) else { return }
    logger.warning(
      "A peer was refused",
      metadata: [
        "address": "\(key.address)", "reason": "\(reason.label)", "detail": "\(text)",
      ]
    )
  }
}
