import Dispatch

/// Runs blocking calls on a thread of its own, one after the other in the order in which they came.
///
/// Calls into the store may wait for the disk: on an event loop they would hold up every other connection,
/// in a task they would hold up the concurrency pool. A connection has at most a few calls waiting,
/// as its state machine asks for one thing of a kind at a time.
///
/// Not a thread pool of NIO's: that wakes all its threads for each call.
struct BlockingQueue: Sendable {
  // A serial queue gets a thread of its own wherever the others are taken. Those of another class than the store's
  // work, which may have to wait for what comes this way.
  private let queue = DispatchQueue(label: "halite.replication", qos: .default)

  func submit(_ job: @escaping @Sendable () -> Void) { queue.async(execute: job) }
}
