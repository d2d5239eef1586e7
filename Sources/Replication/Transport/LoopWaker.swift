import NIOCore
import Synchronization

/// Runs an action on an event loop soon after `wake`, once for any number of wakes before it runs.
///
/// What is sent in one go costs one system call, one TLS record and one wake of the other side, however
/// many transactions it holds; so a stream of wakes is held together. One that comes after a pause is followed at
/// once. While the stream goes on a timer looks for what has come, so that who wakes has no system call to make.
final class LoopWaker: Sendable {
  /// What the next look is to do; ascending, since a wake never takes anything back.
  private enum Phase: UInt8, AtomicRepresentable {
    /// Nothing.
    case idle
    /// To end the stream: nothing has come since the last run. A timer will look.
    case watching
    /// To run the action once it is time. A timer will look, or the loop soon does.
    case due
    /// To run the action. The loop soon looks.
    case urgent
  }

  /// Of what concerns the loop alone.
  private struct Timing {
    var lastRun: NIODeadline?
    var isTimed = false
  }

  private let phase = Atomic(Phase.idle)
  private let loop: any EventLoop
  private let spacing: TimeAmount
  private let action: @Sendable () -> Void
  private let timing: NIOLoopBoundBox<Timing>

  /// To be called on the loop.
  ///
  /// - Parameter spacing: the least time between two runs for which nobody waits.
  init(_ loop: any EventLoop, spacing: TimeAmount, action: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.spacing = spacing
    self.action = action
    timing = NIOLoopBoundBox(Timing(), eventLoop: loop)
  }

  /// Cheap; from any thread.
  ///
  /// - Parameter atOnce: whether somebody waits for what is to be done.
  func wake(atOnce: Bool = false) {
    let wanted = atOnce ? Phase.urgent : .due
    // In one order with whatever is woken for, so that a run which this wake relies on sees that.
    var before = phase.load(ordering: .sequentiallyConsistent)
    while before.rawValue < wanted.rawValue {
      let (isExchanged, found) = phase.weakCompareExchange(
        expected: before,
        desired: wanted,
        ordering: .sequentiallyConsistent
      )
      if isExchanged {
        if before == .idle || atOnce { loop.execute { self.look() } }
        return
      }
      before = found
    }
  }

  private func look() {
    switch phase.load(ordering: .acquiring) {
    case .idle, .watching: break
    case .urgent: run(thenWatch: false)
    case .due:
      let isHeldBack = timing.value.lastRun.map { $0 + spacing > .now() } ?? false
      if isHeldBack { lookLater() } else { run(thenWatch: true) }
    }
  }

  private func lookLater() {
    guard !timing.value.isTimed, let lastRun = timing.value.lastRun else { return }
    timing.value.isTimed = true
    loop.scheduleTask(deadline: lastRun + spacing) { [self] in
      timing.value.isTimed = false
      let isOver = phase.compareExchange(
        expected: .watching,
        desired: .idle,
        ordering: .acquiringAndReleasing
      ).exchanged
      if !isOver { look() }
    }
  }

  private func run(thenWatch isStream: Bool) {
    timing.value.lastRun = .now()
    // Before the action: what happens during it wakes again.
    phase.store(isStream ? .watching : .idle, ordering: .sequentiallyConsistent)
    if isStream { lookLater() }
    action()
  }
}
