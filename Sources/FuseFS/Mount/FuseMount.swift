internal import Glibc
package import Logging
package import Store
internal import Synchronization

/// A mount of a backend: from `start` to `unmount`.
///
/// All methods may block; call them from threads of their own, never from the Swift concurrency
/// pool, and never from a request of the mount itself.
package final class FuseMount: Sendable {
  private struct State: Sendable {
    var session: FuseSession?
    var isPassthrough = false
    /// The number of the connection that was mounted.
    var connection: UInt32?
    var isDetached = false
  }

  private let configuration: FuseMountConfiguration
  private let logger: Logger
  private let point: MountPoint
  private let onEnded: @Sendable (FuseMountEnd) -> Void
  private let backend: any MountBackend
  private let state = Mutex(State())

  /// How long the kernel may take for its first request, in seconds.
  private static let startTime = 10.0
  /// How long a busy mount is tried before it is detached, and how often, in seconds.
  private static let busyTime = 2.0
  private static let busyStep = 0.05
  /// How long the files of an unmounted file system may take to close, in seconds.
  private static let endTime = 5.0

  /// - Parameter onEnded: called once, on the mount's thread, when the mount is gone for whatever
  ///   reason and all its files are closed.
  package init(
    configuration: FuseMountConfiguration,
    backend: any MountBackend,
    logger: Logger,
    onEnded: @escaping @Sendable (FuseMountEnd) -> Void = { _ in }
  ) throws(FuseError) {
    self.configuration = configuration
    self.backend = backend
    self.logger = logger
    self.onEnded = onEnded
    point = try MountPoint(configuration.directory)
    let tree = backend.tree
    guard tree != point.path, !tree.hasPrefix(point.path + "/") else {
      throw FuseError(
        .invalid,
        "the data directory \(tree) must not lie in the mount point \(point.path)"
      )
    }
  }

  /// Whether files are passed through to the disk by the kernel.
  package var isPassthrough: Bool { state.withLock { $0.isPassthrough } }

  /// Mounts; when it returns the mount answers.
  package func start() throws(FuseError) {
    DescriptorLimit.raise()
    try point.prepare(logger: logger)
    let workers = try WorkerPool(threads: configuration.workers)
    let fileSystem: FileSystem
    do throws(SystemCallError) {
      fileSystem = try FileSystem(backend: backend, workers: workers, logger: logger)
    } catch {
      workers.stop()
      throw FuseError(
        .invalid,
        "the data directory \(backend.tree) cannot be opened",
        number: error.number
      )
    }
    let session = FuseSession(
      fileSystem: fileSystem,
      passthrough: configuration.passthrough,
      lowLatency: configuration.isLowLatency,
      logger: logger
    ) { [self] in onEnded(describe($0)) }
    do throws(FuseError) {
      try connect(session)
      try session.run()
    } catch {
      session.discard()
      workers.stop()
      throw error
    }
    guard let isPassthrough = session.started.wait(seconds: Self.startTime, { $0 }) else {
      try? point.detach()
      throw FuseError(
        .failed,
        "the kernel does not talk to the new mount at \(point.path)"
      )
    }
    let connection = MountTable.read().last(at: point.path)?.minor
    state.withLock {
      $0.session = session
      $0.isPassthrough = isPassthrough
      $0.connection = connection
    }
    logger.info(
      "mounted",
      metadata: ["directory": "\(point.path)", "passthrough": "\(isPassthrough)"]
    )
  }

  /// Mounts by itself where it may, which passthrough needs, and with fusermount3 otherwise.
  private func connect(_ session: FuseSession) throws(FuseError) {
    let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    guard device >= 0 else { throw Self.deviceError(errno) }
    var options =
      "fd=\(device),rootmode=40000,user_id=\(geteuid()),group_id=\(getegid())"
      + ",default_permissions"
    if configuration.allowOther { options += ",allow_other" }
    let flags = UInt(MS_NOSUID) | UInt(MS_NODEV)
    if mount("halite", point.path, "fuse.halite", flags, options) == 0 {
      do throws(FuseError) {
        return try session.connect(device)
      } catch {
        close(device)
        try? point.detach()
        throw error
      }
    }
    let number = errno
    close(device)
    guard number == EPERM || number == EACCES else {
      throw FuseError(.failed, "cannot mount at \(point.path)", number: number)
    }
    guard Fusermount.path != nil else {
      throw FuseError(
        .notPermitted,
        "mounting needs CAP_SYS_ADMIN and access to /dev/fuse, or else fusermount3 (Debian and "
          + "Ubuntu: apt install fuse3)"
      )
    }
    var helperOptions = ["fsname=halite", "subtype=halite", "default_permissions"]
    if configuration.allowOther { helperOptions.append("allow_other") }
    try session.mount(point.path, options: helperOptions)
  }

  private static func deviceError(_ number: Int32) -> FuseError {
    switch number {
    case ENOENT, ENODEV, ENXIO:
      FuseError(
        .unavailable,
        "/dev/fuse is missing: load the kernel module with modprobe fuse; in a container, pass "
          + "the device on (--device /dev/fuse)"
      )
    default:
      FuseError(
        .notPermitted,
        "this user may not open /dev/fuse: run as root, or allow everybody to, as udev does "
          + "(chmod 666 /dev/fuse)",
        number: number
      )
    }
  }

  /// A connection that somebody broke off looks to its reader like one that was unmounted, but the
  /// mount is still there.
  private func describe(_ end: FuseMountEnd) -> FuseMountEnd {
    let connection = state.withLock { $0.connection }
    guard end.errorNumber == nil, let connection,
      MountTable.read().last(at: point.path)?.minor == connection
    else { return end }
    return FuseMountEnd(errorNumber: ECONNABORTED)
  }

  /// Takes the mount down. When it is in use it is only taken out of sight: those who have files
  /// open go on with them until they close them or this process ends.
  package func unmount() -> FuseUnmount {
    let (session, connection) = state.withLock { ($0.session, $0.connection) }
    guard let session else { return .unmounted }
    for _ in 0..<Int(Self.busyTime / Self.busyStep) {
      if session.hasEnded || point.unmount() != EBUSY { break }
      // Whoever uses it may be just about to let go; there is nothing to be woken by.
      _ = session.waitUntilEnded(seconds: Self.busyStep)
    }
    // A connection that was broken off leaves its mount behind, as one in use does.
    let isLeft = MountTable.read().last(at: point.path)?.minor == connection
    if isLeft {
      do {
        try point.detach()
      } catch {
        logger.error("the mount stays", metadata: ["error": "\(error)"])
      }
    }
    // A mount that is gone from here lives on in mount namespaces that were made while it was there.
    // Nobody else is waited for twice.
    let wasDetached = state.withLock { state in
      defer { state.isDetached = true }
      return state.isDetached
    }
    let patience = isLeft || wasDetached ? Self.busyStep : Self.endTime
    if session.waitUntilEnded(seconds: patience) { return .unmounted }
    logger.warning(
      "the mount is in use and was only detached; it ends with its last open file",
      metadata: ["directory": "\(point.path)"]
    )
    return .detached
  }

  /// Returns once the mount is gone and all its files are closed; at once if it never was.
  package func waitUntilEnded() {
    _ = state.withLock { $0.session }?.waitUntilEnded(seconds: nil)
  }
}

/// How far an unmount got.
package enum FuseUnmount: Sendable {
  /// The mount is gone.
  case unmounted
  /// It is out of sight, but files in it are still open.
  case detached
}
