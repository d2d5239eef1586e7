import Store
import Synchronization

/// Counts what this node's replication does; the node exposes them.
package final class ReplicationMetrics: Sendable {
  /// The counts since the start of the process.
  package struct Counts: Hashable, Sendable {
    package var connectionsAccepted = 0
    /// Peers admitted and connected now, on the primary's side.
    package var replicasConnected = 0
    package var connectionsMade = 0
    package var connectionsFailed = 0
    /// By the reason's label.
    package var refusals: [RefusalReason: Int] = [:]
    package var bytesSent = 0
    package var bytesReceived = 0
    package var entriesSent = 0
    package var entriesReceived = 0
    package var snapshotsSent = 0
    package var snapshotsReceived = 0
    package var snapshotsFailed = 0
    package var pagesSent = 0
    package var pagesReceived = 0

    package init() {}
  }

  private let counts = Mutex(Counts())

  package init() {}

  package var current: Counts { counts.withLock { $0 } }

  func count(_ change: (inout Counts) -> Void) { counts.withLock { change(&$0) } }

  func sent(_ message: Message, bytes: Int) {
    counts.withLock { counts in
      counts.bytesSent += bytes
      switch message {
      case .entries(let batch): counts.entriesSent += batch.count
      case .snapshotPages(_, let pages): counts.pagesSent += pages.count
      case .snapshotEnd: counts.snapshotsSent += 1
      case .snapshotFailure: counts.snapshotsFailed += 1
      default: break
      }
    }
  }

  func received(_ message: Message) {
    switch message {
    case .entries(let batch): counts.withLock { $0.entriesReceived += batch.count }
    case .snapshotPages(_, let pages): counts.withLock { $0.pagesReceived += pages.count }
    default: break
    }
  }
}

extension LogBatch {
  /// The number of entries.
  var count: Int { last >= first ? Int(last.rawValue - first.rawValue) + 1 : 0 }
}
