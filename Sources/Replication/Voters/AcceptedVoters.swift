import Synchronization

/// Names one connection, as long as it is held.
final class PeerConnectionID: Sendable {}

/// The voters that are connected to this node's server, each at most once.
///
/// A voter dials again as soon as its connection fails, and this side may learn of the failure much
/// later. Without a bound by name the places on the server could run out.
final class AcceptedVoters: Sendable {
  private struct Row {
    var id: PeerConnectionID
    var end: @Sendable () -> Void
  }
  private let rows = Mutex<[String: Row]>([:])

  /// Enters a connection, and ends an older one of the same voter.
  func enter(_ name: String, _ id: PeerConnectionID, end: @escaping @Sendable () -> Void) {
    let replaced = rows.withLock { $0.updateValue(Row(id: id, end: end), forKey: name) }
    replaced?.end()
  }

  /// Forgets a connection.
  func leave(_ name: String, _ id: PeerConnectionID) {
    rows.withLock { rows in
      if rows[name]?.id === id { rows[name] = nil }
    }
  }
}
