package import Store

/// Where a replica stands towards its primary.
package struct ReplicaStatus: Sendable {
  /// Whether entries flow.
  package var isConnected = false
  /// The primary's name, once it has said it.
  package var primaryName: String?
  package var cluster: ClusterID?
  package var term = Term.zero
  /// The last entry the primary is known to have.
  package var primaryLast = LogIndex.zero
  package var progress = ReplicaProgress(
    received: .zero,
    durable: .zero,
    applied: .zero,
    repairing: 0
  )
  /// The primary's wall clock at its last heartbeat, in milliseconds since 1970, to notice clocks that
  /// are far apart; nil before the first.
  package var primaryWallClock: UInt64?
  /// When the primary was last heard; nil if never.
  package var lastWord: ContinuousClock.Instant?
  /// Since when the oldest entry that is known and not applied has been waiting.
  package var waitingSince: ContinuousClock.Instant?
  package var snapshot: SnapshotProgress?
  /// Why there is no connection.
  package var failure: ReplicationError?

  package init() {}

  /// Everything the primary is known to have is applied.
  package var isCaughtUp: Bool { progress.repairing == 0 && progress.applied >= primaryLast }

  /// How far behind the primary this node's databases are; nil when it was never heard.
  ///
  /// - Parameter patience: How long the primary may be silent before its silence counts.
  package func lag(
    at now: ContinuousClock.Instant,
    patience: Duration = SessionTiming().heartbeat * 2
  ) -> Duration? {
    guard let lastWord else { return nil }
    let silence = now - lastWord
    let waiting = waitingSince.map { now - $0 } ?? .zero
    return max(.zero, waiting, !isConnected || silence > patience ? silence : .zero)
  }
}
