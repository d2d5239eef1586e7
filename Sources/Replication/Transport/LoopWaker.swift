import NIOCore
import Synchronization

/// Runs an action on an event loop soon after `wake`, once for any number of wakes before it runs.
final class LoopWaker: Sendable {
  private let isPending = Atomic(false)
  private let loop: any EventLoop
  private let action: @Sendable () -> Void

  init(_ loop: any EventLoop, action: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.action = action
  }

  /// Cheap; from any thread.
  func wake() {
    guard !isPending.exchange(true, ordering: .acquiringAndReleasing) else { return }
    loop.execute {
      // Before the action: what happens during it wakes again.
      self.isPending.store(false, ordering: .releasing)
      self.action()
    }
  }
}
