package import Store
import Synchronization

/// A replica as `status` shows it.
package struct PeerStatus: Hashable, Sendable {
  package var name: String
  package var address: String
  package var isConnected: Bool
  package var progress: ReplicaProgress
  /// How long the oldest entry that the replica has not applied has been waiting; while it is away,
  /// since it was heard last.
  package var lag: Duration
  package var snapshot: SnapshotProgress?

  /// The last entry on the replica's stable storage.
  package var matchIndex: LogIndex { progress.durable }
}

/// The replicas that are or were connected.
final class PeerRegistry: Sendable {
  /// Replicas remembered; one that is away makes room for a new one.
  static let capacity = 256

  private struct Row {
    var status: PeerStatus
    var connection: ObjectIdentifier
    var heard: ContinuousClock.Instant
    /// Ends the connection.
    var end: @Sendable (Goodbye.Reason) -> Void
  }
  private let rows = Mutex<[String: Row]>([:])

  /// Enters a replica that was admitted. An older connection of the same name is ended: its peer is
  /// gone and the silence just has not lasted long enough.
  func enter(
    _ status: PeerStatus,
    connection: ObjectIdentifier,
    now: ContinuousClock.Instant,
    end: @escaping @Sendable (Goodbye.Reason) -> Void
  ) {
    let replaced = rows.withLock { rows in
      if rows[status.name] == nil, rows.count >= Self.capacity,
        let oldest = rows.values.filter({ !$0.status.isConnected }).min(by: { $0.heard < $1.heard })
      {
        rows[oldest.status.name] = nil
      }
      let old = rows.updateValue(
        Row(status: status, connection: connection, heard: now, end: end),
        forKey: status.name
      )
      return old.flatMap { $0.status.isConnected ? $0 : nil }
    }
    replaced?.end(.replaced)
  }

  func update(
    _ name: String,
    connection: ObjectIdentifier,
    now: ContinuousClock.Instant,
    _ change: (inout PeerStatus) -> Void
  ) {
    rows.withLock { rows in
      guard rows[name]?.connection == connection else { return }
      rows[name]?.heard = now
      if var status = rows[name]?.status {
        change(&status)
        rows[name]?.status = status
      }
    }
  }

  func statuses(at now: ContinuousClock.Instant) -> [PeerStatus] {
    rows.withLock { rows in
      rows.values
        .map { row in
          var status = row.status
          if !status.isConnected { status.lag = max(status.lag, now - row.heard) }
          return status
        }
        .sorted { $0.name < $1.name }
    }
  }
}
