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
  }

  private let state: Mutex<Role>

  init(_ role: Role) { state = Mutex(role) }

  var current: Role { state.withLock { $0 } }
  func set(_ role: Role) { state.withLock { $0 = role } }

  /// The term in which this node is the primary; nil when it is not.
  var term: Term? {
    if case .primary(let term) = current { return term }
    return nil
  }

  /// What `.primary` and `.lag` say.
  func standing(clock: SystemClock) -> Store.Standing {
    guard case .replica(let client, _) = current else { return Store.Standing() }
    guard let status = client?.status else {
      return Store.Standing(primary: nil, lagMilliseconds: nil)
    }
    let now = ContinuousClock.now
    let silence = status.lastWord.map { HaliteNode.milliseconds(now - $0) } ?? 0
    return Store.Standing(
      primary: status.isConnected ? status.primaryName : nil,
      lagMilliseconds: status.lag(at: now).map(HaliteNode.milliseconds),
      heard: clock.milliseconds &- UInt64(clamping: silence)
    )
  }
}
