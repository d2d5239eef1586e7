import Glibc

/// A thread of our own, for work that blocks or that nothing else may hold up.
package enum DetachedThread {
  private final class Body: Sendable {
    private let name: String
    private let run: @Sendable () -> Void

    init(_ name: String, _ run: @escaping @Sendable () -> Void) {
      self.name = name
      self.run = run
    }

    func perform() {
      nameThisThread(name)
      run()
    }
  }

  /// Starts a detached thread. It takes no signals: those are for the threads of the program.
  ///
  /// - Parameter name: what `top -H` shows; at most 15 bytes.
  /// - Returns: zero, or the number of the system's error where there is no thread.
  package static func start(_ name: String, _ run: @escaping @Sendable () -> Void) -> Int32 {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    // A thread inherits the mask of the one that starts it.
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    // Released by the thread itself, or below when there is none.
    let held = Unmanaged.passRetained(Body(name, run))
    var thread = pthread_t()
    let result = pthread_create(
      &thread,
      nil,
      { argument in
        if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().perform() }
        return nil
      },
      held.toOpaque()
    )
    guard result == 0 else {
      held.release()
      return result
    }
    pthread_detach(thread)
    return 0
  }

  private static func nameThisThread(_ name: String) {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    _ = name.utf8.withContiguousStorageIfAvailable { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
  }
}
