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
    let name: String
    private let work = Mutex<[@Sendable () -> Void]>([])
    private let arrivals = DispatchSemaphore(value: 0)

    init(_ name: String) { self.name = name }

    func add(_ body: @escaping @Sendable () -> Void) {
      work.withLock { $0.append(body) }
      arrivals.signal()
    }

    /// Lets the thread end once everything is done.
    func end() { arrivals.signal() }

    func run() {
      Self.nameThisThread(name)
      // Where it is not allowed, things go on without.
      _ = setpriority(Int32(PRIO_PROCESS.rawValue), 0, UrgentThread.priority)
      while true {
        arrivals.wait()
        guard let body = work.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { return }
        body()
      }
    }

    private static func nameThisThread(_ name: String) {
      let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
      guard descriptor >= 0 else { return }
      _ = name.utf8.withContiguousStorageIfAvailable { write(descriptor, $0.baseAddress, $0.count) }
      close(descriptor)
    }
  }

  /// The thread's nice value.
  private static let priority: Int32 = -10

  private let queue: Queue
  /// Where no thread of its own could be started.
  private let substitute: DispatchQueue?

  /// - Parameter name: what `top -H` shows; at most 15 bytes.
  init(_ name: String) {
    queue = Queue(name)
    substitute = Self.start(queue) ? nil : DispatchQueue(label: name, qos: .userInitiated)
  }

  deinit { queue.end() }

  func async(_ work: @escaping @Sendable () -> Void) {
    if let substitute { substitute.async(execute: work) } else { queue.add(work) }
  }

  /// Starts a detached thread. It takes no signals: those are for the threads of the program.
  private static func start(_ queue: Queue) -> Bool {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    // A thread inherits the mask of the one that starts it.
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    // Released by the thread itself, or below when there is none.
    let held = Unmanaged.passRetained(queue)
    var thread = pthread_t()
    let result = pthread_create(
      &thread,
      nil,
      { argument in
        if let argument { Unmanaged<Queue>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      },
      held.toOpaque()
    )
    guard result == 0 else {
      held.release()
      return false
    }
    pthread_detach(thread)
    return true
  }
}
