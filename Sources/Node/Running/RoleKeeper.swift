import LTX
import Replication
import Store
import Synchronization

/// What this node does with the others at the moment, for whoever looks.
final class RoleKeeper: Sendable {
  enum Role: Sendable {
    case alone
    case primary(Term)
    /// A replica; without a client while no primary is known.
    case replica(ReplicationClient?, ReplicaEngine)
    /// Neither, for a moment.
    case changing
    /// Elected: the others follow this node, and what the log holds is being committed and applied before
    /// clients may write.
    case opening(Term, ReplicaEngine)
    /// Elected, but it lacks databases: the others may have its log until one of them can be the primary.
    case lending(Term, ReplicaEngine)
  }

  private let state: Mutex<Role>

  init(_ role: Role) { state = Mutex(role) }

  var current: Role { state.withLock { $0 } }
  func set(_ role: Role) { state.withLock { $0 = role } }

  /// The term in which this node is the primary, or is about to be; nil when it is not.
  var term: Term? {
    switch current {
    case .primary(let term), .opening(let term, _), .lending(let term, _): term
    case .alone, .replica, .changing: nil
    }
  }

  /// Whether clients may write here.
  var isPrimary: Bool {
    switch current {
    case .alone, .primary: true
    case .replica, .changing, .opening, .lending: false
    }
  }

  /// What `.primary` and `.lag` say.
  func standing(clock: SystemClock) -> Store.Standing {
    if isPrimary { return Store.Standing() }
    guard case .replica(let client?, _) = current else {
      return Store.Standing(primary: nil, lagMilliseconds: nil)
    }
    let status = client.status
    let now = ContinuousClock.now
    let silence = status.lastWord.map { HaliteNode.milliseconds(now - $0) } ?? 0
    return Store.Standing(
      primary: status.isConnected ? status.primaryName : nil,
      lagMilliseconds: status.lag(at: now).map(HaliteNode.milliseconds),
      heard: clock.milliseconds &- UInt64(clamping: silence)
    )
  }
}
