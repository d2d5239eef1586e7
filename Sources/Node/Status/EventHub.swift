import Synchronization

/// Hands events to whoever listens, without ever waiting for a listener.
///
/// Each listener has a buffer of 1024 events, as in LiteFS; one that does not keep up is dropped,
/// since a gap in the events would look like none.
package final class EventHub: Sendable {
  /// Events a listener may be behind.
  static let bufferSize = 1024
  /// Listeners at one time; beyond it an application has a leak.
  static let maximumListeners = 128

  private struct Listener {
    let continuation: AsyncStream<NodeEvent?>.Continuation
    let onDrop: @Sendable () -> Void
  }

  private struct State {
    var listeners: [UInt64: Listener] = [:]
    var nextIdentifier: UInt64 = 0
    var role = NodeEvent.initial(isPrimary: false, hostname: "")
    var isClosed = false
  }

  private let state = Mutex(State())
  /// Lets `publish` return at once when nobody listens, which is nearly always.
  private let hasListeners = Atomic<Bool>(false)

  package init() {}

  /// Whether it is worth building an event.
  package var isWatched: Bool { hasListeners.load(ordering: .relaxed) }

  /// Tells every listener; called after the fact, from any thread.
  package func publish(_ event: NodeEvent) {
    if case .transaction = event, !isWatched { return }
    send(event)
  }

  /// Lets listeners, and the network below them, notice that the other side is gone.
  func heartbeat() { send(nil) }

  private func send(_ event: NodeEvent?) {
    let dropped = state.withLock { state in
      if case .primaryChange(let isPrimary, let hostname)? = event {
        state.role = .initial(isPrimary: isPrimary, hostname: hostname)
      }
      var dropped: [Listener] = []
      for (identifier, listener) in state.listeners {
        guard case .dropped = listener.continuation.yield(event) else { continue }
        state.listeners[identifier] = nil
        dropped.append(listener)
      }
      hasListeners.store(!state.listeners.isEmpty, ordering: .relaxed)
      return dropped
    }
    for listener in dropped {
      listener.continuation.finish()
      listener.onDrop()
    }
  }

  /// The events from now on, `init` first, nil for a heartbeat; no subscription when there are too
  /// many listeners already.
  ///
  /// The stream ends when the hub closes, or when the listener falls behind; only then `onDrop` is
  /// called, by whoever published. Call `unsubscribe` when done.
  func subscribe(onDrop: @escaping @Sendable () -> Void) -> EventSubscription? {
    state.withLock { state in
      guard state.listeners.count < Self.maximumListeners, !state.isClosed else { return nil }
      let (stream, continuation) = AsyncStream<NodeEvent?>.makeStream(
        bufferingPolicy: .bufferingOldest(Self.bufferSize)
      )
      continuation.yield(state.role)
      let identifier = state.nextIdentifier
      state.nextIdentifier += 1
      state.listeners[identifier] = Listener(continuation: continuation, onDrop: onDrop)
      hasListeners.store(true, ordering: .relaxed)
      return EventSubscription(identifier: identifier, events: stream)
    }
  }

  func unsubscribe(_ subscription: EventSubscription) {
    state.withLock { state in
      state.listeners.removeValue(forKey: subscription.identifier)?.continuation.finish()
      hasListeners.store(!state.listeners.isEmpty, ordering: .relaxed)
    }
  }

  /// Ends all streams; later listeners are refused.
  package func close() {
    state.withLock { state in
      state.isClosed = true
      for listener in state.listeners.values { listener.continuation.finish() }
      state.listeners = [:]
      hasListeners.store(false, ordering: .relaxed)
    }
  }
}

/// One listener's place in an `EventHub`.
struct EventSubscription: Sendable {
  let identifier: UInt64
  let events: AsyncStream<NodeEvent?>
}
