import Synchronization

/// Lets what several may do be done only the first time.
final class Once: Sendable {
  private let claimed = Atomic(false)

  var isClaimed: Bool { claimed.load(ordering: .acquiring) }

  func claim() -> Bool { !claimed.exchange(true, ordering: .acquiringAndReleasing) }
}
