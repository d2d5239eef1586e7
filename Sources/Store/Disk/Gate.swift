import Dispatch

/// Lets one thread wait until another has opened it. Never for a thread that must not block.
final class Gate: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)

  func open() { semaphore.signal() }
  func wait() { semaphore.wait() }
}
