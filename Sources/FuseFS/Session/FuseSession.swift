internal import CFuse3
internal import Glibc
internal import Logging
internal import Synchronization

/// A connection to the kernel: libfuse's session, and the thread that reads its requests.
///
/// One thread reads (see the measurements in docs/architecture.md: more readers cost more than
/// they bring); what may take long is answered from elsewhere.
///
/// `@unchecked Sendable`: all variables are set before the thread starts and are the thread's from then
/// on; libfuse's own locks guard what is behind `session`.
final class FuseSession: @unchecked Sendable {
  let fileSystem: FileSystem
  private let handshake: InitHandshake
  private let wakefulness: WakefulProcessors?
  private let logger: Logger
  /// Let go of once it was called, as whoever is called may hold on to the session.
  private var onEnded: (@Sendable (FuseMountEnd) -> Void)?
  private var session: OpaquePointer?
  /// Whether the descriptor is ours, so that messages come through `read` and `write` here.
  private var isOwnConnection = false
  /// Whether `read` answers at once where there is no request.
  private var isPolling = false
  private var requestsSinceWrite = 0
  /// Requests that were not answered yet when the last one came.
  private var unansweredBefore = 0

  /// Nil until the kernel's first request is answered; then whether files are passed through.
  let started = Condition<Bool?>(nil)
  /// Nil until the connection is gone.
  let ended = Condition<FuseMountEnd?>(nil)

  /// How often to look for a request before sleeping, some 5 and 10 µs: where nothing is written, nobody
  /// else has work that this could hold up.
  private static let looks = (writing: 15, reading: 30)
  /// FUSE_WRITE.
  private static let writeOperation: UInt32 = 16
  /// Requests without a write among them from which on nothing is being written.
  private static let manyReads = 64
  /// The thread's nice value.
  private static let priority: Int32 = -10
  /// How long the end of a session waits for requests that are still being worked on, in seconds.
  private static let drainTime = 10.0

  init(
    fileSystem: FileSystem,
    passthrough: Bool,
    lowLatency: Bool,
    logger: Logger,
    onEnded: @escaping @Sendable (FuseMountEnd) -> Void
  ) {
    self.fileSystem = fileSystem
    self.logger = logger
    self.onEnded = onEnded
    handshake = InitHandshake(passthrough: passthrough)
    wakefulness = lowLatency ? WakefulProcessors(logger: logger) : nil
  }

  // MARK: Connecting

  /// Takes over a connection that was mounted with this descriptor of `/dev/fuse`.
  func connect(_ descriptor: Int32) throws(FuseError) {
    let session = try makeSession(options: [])
    var io = fuse_custom_io()
    io.read = { descriptor, buffer, size, context in
      guard let context, let buffer else { return read(descriptor, buffer, size) }
      let this = Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue()
      let count = this.receive(descriptor, buffer, size)
      guard count > 0 else { return count }
      this.wakefulness?.note()
      if !this.handshake.isFinished {
        this.handshake.received(UnsafeRawBufferPointer(start: buffer, count: count))
      }
      return count
    }
    io.writev = { descriptor, parts, count, context in
      guard let context, let parts else { return writev(descriptor, parts, count) }
      let this = Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue()
      if this.handshake.isFinished { return writev(descriptor, parts, count) }
      return this.sendFirst(
        descriptor,
        UnsafeBufferPointer(start: parts, count: Int(count))
      )
    }
    let result = halite_session_custom_io(session, &io, descriptor)
    guard result == 0 else {
      destroy(session)
      throw FuseError(.failed, "libfuse does not take the connection", number: -result)
    }
    isOwnConnection = true
    if wakefulness != nil { isPolling = fcntl(descriptor, F_SETFL, O_RDWR | O_NONBLOCK) == 0 }
    self.session = session
  }

  private func note(_ request: UnsafeRawBufferPointer) {
    // The header's second field is the operation (linux/fuse.h, struct fuse_in_header).
    guard request.count >= 8 else { return }
    unansweredBefore = fileSystem.outstanding.number
    let isWrite = request.loadUnaligned(fromByteOffset: 4, as: UInt32.self) == Self.writeOperation
    requestsSinceWrite = isWrite ? 0 : min(requestsSinceWrite + 1, Self.manyReads)
  }

  /// Reads the next request.
  ///
  /// While requests come densely the next one mostly follows within microseconds, so that looking for it is
  /// quicker than to be woken. Not so where the last one waits for the disk, and whoever sent it for the answer.
  private func receive(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ size: Int) -> Int {
    guard isPolling else { return read(descriptor, buffer, size) }
    var looks = 1
    let isAnswered = fileSystem.outstanding.number <= unansweredBefore
    if isAnswered, wakefulness?.isDense == true {
      looks = requestsSinceWrite < Self.manyReads ? Self.looks.writing : Self.looks.reading
    }
    while true {
      let count = read(descriptor, buffer, size)
      if count > 0 { note(UnsafeRawBufferPointer(start: buffer, count: count)) }
      if count >= 0 || errno != EAGAIN { return count }
      looks -= 1
      guard looks <= 0 else {
        sched_yield()
        continue
      }
      var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&wait, 1, -1) >= 0 else { return -1 }
    }
  }

  /// Mounts with the help of fusermount3, for daemons that may not mount themselves.
  func mount(_ directory: String, options: [String]) throws(FuseError) {
    let session = try makeSession(options: options)
    guard fuse_session_mount(session, directory) == 0 else {
      destroy(session)
      throw FuseError(
        .notPermitted,
        "fusermount3 could not mount \(directory); its message is on standard error. Run as root "
          + "or with CAP_SYS_ADMIN, or make sure that the directory is yours and that "
          + "user_allow_other is in /etc/fuse.conf if allow-other is on"
      )
    }
    self.session = session
  }

  private func makeSession(options: [String]) throws(FuseError) -> OpaquePointer {
    var arguments = fuse_args()
    defer { fuse_opt_free_args(&arguments) }
    fuse_opt_add_arg(&arguments, "halite")
    for option in options {
      fuse_opt_add_arg(&arguments, "-o")
      fuse_opt_add_arg(&arguments, option)
    }
    var operations = FuseOperations.table
    // Released in `destroy`.
    let context = Unmanaged.passRetained(self)
    guard let session = halite_session_new(&arguments, &operations, context.toOpaque()) else {
      context.release()
      throw FuseError(.failed, "libfuse could not make a session; its message is on standard error")
    }
    return session
  }

  /// The answer to the first request; afterwards it is known whether files can be passed through.
  private func sendFirst(_ descriptor: Int32, _ parts: UnsafeBufferPointer<iovec>) -> Int {
    guard let message = handshake.amended(parts) else {
      return writev(descriptor, parts.baseAddress, Int32(parts.count))
    }
    let count = message.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    guard count >= 0 else { return count }
    start(passthrough: handshake.agreed ? BackingFiles(connection: descriptor) : nil)
    return count
  }

  private func start(passthrough backing: BackingFiles?) {
    var isPassthrough = false
    if let backing {
      if let refusal = backing.accepts(directory: fileSystem.tree.root) {
        logger.warning(
          "files cannot be passed through, so the mount is slower; halite doctor says more",
          metadata: ["directory": "\(fileSystem.tree.root)", "errno": "\(refusal.number)"]
        )
      } else {
        fileSystem.usePassthrough(backing)
        isPassthrough = true
      }
    }
    started.update { $0 = isPassthrough }
  }

  /// libfuse has seen the first request. Where it talks to the kernel itself there is nothing to
  /// amend, and this is the start.
  func initialized() {
    if !isOwnConnection { start(passthrough: nil) }
  }

  // MARK: Running

  /// Reads requests on a thread of its own until the connection ends.
  func run() throws(FuseError) {
    try NativeThread.start { [self] in loop() }
  }

  private func loop() {
    guard let session else { return }
    // Every application waits for this thread, so it should not wait for them: on a busy machine
    // this makes a commit several times faster. Where it is not allowed, things go on without.
    setpriority(Int32(PRIO_PROCESS.rawValue), 0, Self.priority)

    let result = fuse_session_loop(session)
    fileSystem.closeAll()
    let drained: Void? = fileSystem.outstanding.waitUntilEmpty(seconds: Self.drainTime)
    fileSystem.workers.stop()
    if drained != nil {
      self.session = nil
      destroy(session)
    } else {
      // Their answers would go to a freed session, or to a descriptor that is something else by
      // then; so both stay until the process ends.
      logger.error("requests were still being worked on when the mount ended")
    }
    let end = FuseMountEnd(errorNumber: result < 0 ? -result : nil)
    ended.update { $0 = end }
    onEnded?(end)
    onEnded = nil
  }

  var hasEnded: Bool { waitUntilEnded(seconds: 0) }

  /// False when it takes longer; nil waits without end.
  func waitUntilEnded(seconds: Double?) -> Bool {
    ended.wait(seconds: seconds) { $0 } != nil
  }

  /// Gives up a connection that was never run.
  func discard() {
    onEnded = nil
    wakefulness?.stop()
    guard let session else { return }
    self.session = nil
    destroy(session)
  }

  private func destroy(_ session: OpaquePointer) {
    wakefulness?.stop()
    fuse_session_destroy(session)
    Unmanaged.passUnretained(self).release()
  }
}

/// How a mount came to its end.
package struct FuseMountEnd: Hashable, Sendable {
  /// Nil after an unmount; otherwise why requests could no longer be read.
  package var errorNumber: Int32?
}
