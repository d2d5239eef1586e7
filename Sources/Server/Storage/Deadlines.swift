import Dispatch
import Synchronization

/// What is to be done when a time is over, for very many that hardly ever come to that: one timer serves all.
final class Deadlines: Sendable {
  struct Key: Hashable, Sendable { fileprivate let number: UInt64 }

  private struct Entry: Sendable {
    let time: ContinuousClock.Instant
    let action: @Sendable () -> Void
  }

  private struct State: Sendable {
    var entries: [UInt64: Entry] = [:]
    var last: UInt64 = 0
    /// When the timer looks next; nil when nothing is waited for.
    var look: ContinuousClock.Instant?
  }

  private let state = Mutex(State())
  /// Of its own: what others do on the global queues can take long.
  private let queue = DispatchQueue(label: "nebulagc.deadlines")

  /// - Parameters:
  ///   - limit: positive.
  ///   - action: called once, after those that were due before, unless the key is removed before. Must not block.
  func add(after limit: Duration, _ action: @escaping @Sendable () -> Void) -> Key {
    let time = ContinuousClock.now + limit
    let (key, isFirst) = state.withLock { state in
      state.last += 1
      state.entries[state.last] = Entry(time: time, action: action)
      let isFirst = state.look.map { time < $0 } ?? true
      if isFirst { state.look = time }
      return (Key(number: state.last), isFirst)
    }
    if isFirst { look(at: time) }
    return key
  }

  func remove(_ key: Key) {
    state.withLock { $0.entries[key.number] = nil }
  }

  private func look(at time: ContinuousClock.Instant) {
    let seconds = (time - .now) / .seconds(1)
    queue.asyncAfter(deadline: .now() + max(0, seconds)) {
      self.timer(of: time)
    }
  }

  private func timer(of time: ContinuousClock.Instant) {
    let now = ContinuousClock.now
    let (over, next) = state.withLock {
      state -> ([@Sendable () -> Void], ContinuousClock.Instant?) in
      // Another one has looked for it, or will sooner.
      guard state.look == time else { return ([], nil) }
      let over = state.entries.filter { $0.value.time <= now }
      for key in over.keys { state.entries[key] = nil }
      state.look = state.entries.values.map(\.time).min()
      return (over.values.sorted { $0.time < $1.time }.map(\.action), state.look)
    }
    for action in over { action() }
    if let next { look(at: next) }
  }
}
