import Replication

/// A connection of a replica to a primary, with the sessions of both ends. What is on its way keeps its order and
/// is not lost while the connection lasts.
struct Connection {
  enum End: CaseIterable { case replica, primary }

  let id: Int
  let replica: Int
  let primary: Int
  var session: ReplicaSession
  var peer: PrimaryPeer
  var isOpen: [End: Bool] = [.replica: true, .primary: true]
  /// What is on its way to each end.
  var frames: [End: [Frame]] = [.replica: [], .primary: []]
  /// When the last of it arrives, and when the last answer of blocking work comes, at each end.
  var lastFrame: [End: Int] = [:]
  var lastAnswer: [End: Int] = [:]
  var wantsReading = true
  var isWordPlanned = false
  /// Whether the primary takes transactions of the replica over it.
  var isLending = true
  /// Whether the replica has been told that it may ask for grants.
  var isBorrowing = false
  var snapshot: SimulatedSnapshot?

  func node(_ end: End) -> Int { end == .replica ? replica : primary }
  func isOpen(_ end: End) -> Bool { isOpen[end] ?? false }
}

extension Connection.End {
  var other: Self { self == .replica ? .primary : .replica }
}
