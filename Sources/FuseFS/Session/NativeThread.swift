internal import Store

/// A thread of our own for work that blocks: requests of the kernel are no work for the Swift
/// concurrency pool, whose threads must never wait.
enum NativeThread {
  /// Starts a detached thread, see `DetachedThread`.
  ///
  /// - Parameter name: what `top -H` shows; at most 15 bytes.
  static func start(
    _ name: String = "halite-fuse",
    _ run: @escaping @Sendable () -> Void
  ) throws(FuseError) {
    let result = DetachedThread.start(name, run)
    guard result == 0 else {
      throw FuseError(.failed, "cannot start a thread for the mount", number: result)
    }
  }
}
