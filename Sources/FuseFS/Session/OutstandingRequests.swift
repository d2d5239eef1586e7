internal import Synchronization

/// How many requests have not been answered: their session must not be freed before.
final class OutstandingRequests: Sendable {
  private let count = Atomic(0)
  /// Only at the end of a session does anybody wait, so that a request costs no lock.
  private let emptied = Condition(false)
  private let closing = Atomic(false)

  /// How many there are at about this moment.
  var number: Int { count.load(ordering: .relaxed) }

  func began() { count.add(1, ordering: .relaxed) }

  func ended() {
    let left = count.subtract(1, ordering: .sequentiallyConsistent).newValue
    if left == 0, closing.load(ordering: .sequentiallyConsistent) {
      emptied.update { $0 = true }
    }
  }

  /// Waits for the last answer once no new requests can come; nil when it takes too long.
  func waitUntilEmpty(seconds: Double) -> Void? {
    closing.store(true, ordering: .sequentiallyConsistent)
    if count.load(ordering: .sequentiallyConsistent) == 0 { return () }
    return emptied.wait(seconds: seconds) { $0 ? () : nil }
  }
}
