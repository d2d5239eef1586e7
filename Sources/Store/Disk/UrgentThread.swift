import Dispatch
import Glibc
import Synchronization

/// A thread for short work that an application waits for, done in order: where processors are busy it gets one
/// before the node's other threads, as the thread that answers the mount's requests does.
final class UrgentThread: Sendable {
  /// What the thread holds on to.
  ///
  /// `@unchecked Sendable`: the semaphore may be used from any thread, and only lacks the mark.
  private final class Queue: @unchecked Sendable {
    private let work = Mutex<[@Sendable () -> Void]>([])
    private let arrivals = DispatchSemaphore(value: 0)

    func add(_ body: @escaping @Sendable () -> Void) {
      work.withLock { $0.append(body) }
      arrivals.signal()
    }

    /// Lets the thread end once everything is done.
    func end() { arrivals.signal() }

    func run() {
      // Where it is not allowed, things go on without.
      _ = setpriority(Int32(PRIO_PROCESS.rawValue), 0, UrgentThread.priority)
      while true {
        arrivals.wait()
        guard let body = work.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { return }
        body()
      }
    }
  }

  /// The thread's nice value.
  private static let priority: Int32 = -10

  private let queue = Queue()
  /// Whether `asyncIfIdle` has given it work that is not done.
  private let isTaken = Atomic(false)
  /// Where no thread of its own could be started.
  private let substitute: DispatchQueue?

  /// - Parameter name: what `top -H` shows; at most 15 bytes.
  init(_ name: String) {
    let isStarted = DetachedThread.start(name) { [queue] in queue.run() } == 0
    substitute = isStarted ? nil : DispatchQueue(label: name, qos: .userInitiated)
  }

  deinit { queue.end() }

  func async(_ work: @escaping @Sendable () -> Void) {
    if let substitute { substitute.async(execute: work) } else { queue.add(work) }
  }

  /// - Returns: false where the thread has work already, and nothing was done.
  func asyncIfIdle(_ work: @escaping @Sendable () -> Void) -> Bool {
    guard substitute == nil,
      isTaken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    else { return false }
    queue.add { [self] in
      work()
      isTaken.store(false, ordering: .releasing)
    }
    return true
  }
}
