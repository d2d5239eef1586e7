import NIOCore
import Synchronization

/// Runs an action on an event loop soon after `wake`, once for any number of wakes before it runs.
final class LoopWaker: Sendable {
  /// What is sent in one go costs one system call, one TLS record and one wake of the other side,
  /// however many transactions it holds; a stream of them is held together for so long. A transaction
  /// that comes after a pause goes at once.
  static let spacing = TimeAmount.microseconds(500)

  private let isPending = Atomic(false)
  private let loop: any EventLoop
  private let action: @Sendable () -> Void
  private let lastRun: NIOLoopBoundBox<NIODeadline>

  /// To be called on the loop.
  init(_ loop: any EventLoop, action: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.action = action
    lastRun = NIOLoopBoundBox(.uptimeNanoseconds(0), eventLoop: loop)
  }

  /// Cheap; from any thread.
  ///
  /// - Parameter atOnce: whether somebody waits for what is to be done.
  func wake(atOnce: Bool = false) {
    guard !isPending.exchange(true, ordering: .acquiringAndReleasing) else { return }
    loop.execute { [self] in
      let next = lastRun.value + Self.spacing
      if atOnce || next <= .now() { return run() }
      loop.scheduleTask(deadline: next) { [self] in run() }
    }
  }

  private func run() {
    lastRun.value = .now()
    // Before the action: what happens during it wakes again.
    isPending.store(false, ordering: .releasing)
    action()
  }
}
