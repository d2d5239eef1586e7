internal import CFuse3
internal import Glibc

/// A thread of our own for work that blocks: requests of the kernel are no work for the Swift
/// concurrency pool, whose threads must never wait.
enum NativeThread {
  private final class Body {
    let name: String
    let run: @Sendable () -> Void
    init(_ name: String, _ run: @escaping @Sendable () -> Void) {
      self.name = name
      self.run = run
    }
  }

  /// Starts a detached thread. It takes no signals: those are for the threads of the program.
  ///
  /// - Parameter name: what `top -H` shows; at most 15 bytes.
  static func start(
    _ name: String = "halite-fuse",
    _ run: @escaping @Sendable () -> Void
  ) throws(FuseError) {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    // A thread inherits the mask of the one that starts it.
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    // Released by the thread itself, or below when there is none.
    let body = Unmanaged.passRetained(Body(name, run))
    var thread = pthread_t()
    let result = pthread_create(
      &thread,
      nil,
      { argument in
        guard let argument else { return nil }
        let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        halite_name_this_thread(body.name)
        body.run()
        return nil
      },
      body.toOpaque()
    )
    guard result == 0 else {
      body.release()
      throw FuseError(.failed, "cannot start a thread for the mount", number: result)
    }
    pthread_detach(thread)
  }
}
