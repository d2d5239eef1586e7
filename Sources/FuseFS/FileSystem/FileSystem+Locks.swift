internal import CFuse3
internal import Glibc
internal import Store
internal import Synchronization

/// A lock request that waits, and can be interrupted by a signal to its application.
///
/// The signal may come before the table has said by what name the wait can be cancelled.
final class LockWait: Sendable {
  private struct State: Sendable {
    var ticket: LockTicket?
    var interrupted = false
  }

  private let locks: FileLocks
  private let state = Mutex(State())

  init(_ locks: FileLocks) { self.locks = locks }

  func began(_ ticket: LockTicket) {
    let interrupted = state.withLock { state in
      state.ticket = ticket
      return state.interrupted
    }
    if interrupted { locks.cancel(ticket) }
  }

  func interrupt() {
    let ticket = state.withLock { state in
      state.interrupted = true
      return state.ticket
    }
    if let ticket { locks.cancel(ticket) }
  }
}

extension FileSystem {
  func testLock(_ request: FuseRequest, handle: UInt64, owner: UInt64, _ lock: flock) {
    serve(request) { () throws(SystemCallError) in
      let file = try self.file(handle)
      let kind: LockKind = Int32(lock.l_type) == F_WRLCK ? .write : .read
      let found = file.locks.test(
        LockRequest(
          owner: .kernel(owner),
          handle: handle,
          pid: lock.l_pid,
          kind: kind,
          range: try LockRange(lock)
        )
      )
      request.reply(lock: found.map(flock.init) ?? .unlocked)
    }
  }

  /// `F_SETLK`, and `F_SETLKW` with `wait`.
  func setLock(
    _ request: FuseRequest,
    handle: UInt64,
    owner: UInt64,
    _ lock: flock,
    wait: Bool,
    onInterrupt handler: fuse_interrupt_func_t
  ) {
    serve(request) { () throws(SystemCallError) in
      let locks = try file(handle).locks
      let range = try LockRange(lock)
      let kind: LockKind
      switch Int32(lock.l_type) {
      case F_UNLCK:
        return locks.unlock(owner: .kernel(owner), handle: handle, range: range) {
          request.succeed()
        }
      case F_RDLCK: kind = .read
      case F_WRLCK: kind = .write
      default: throw SystemCallError(EINVAL)
      }
      let wanted = LockRequest(
        owner: .kernel(owner),
        handle: handle,
        pid: lock.l_pid,
        kind: kind,
        range: range
      )
      guard wait else {
        locks.set(wanted, wait: false) { request.fail($0.errorNumber) }
        return
      }
      let waiting = LockWait(locks)
      let token = state.withLock { state in
        let token = state.nextNumber()
        state.waits[token] = waiting
        return token
      }
      // First the handler, then the wait: once it waits, another thread may answer it.
      request.onInterrupt(token, handler)
      let ticket = locks.set(wanted, wait: true) { [self] outcome in
        _ = state.withLock { $0.waits.removeValue(forKey: token) }
        request.fail(outcome.errorNumber)
      }
      if let ticket { waiting.began(ticket) }
    }
  }

  /// A signal came for an application whose lock request waits.
  func interrupt(_ token: UInt64) {
    state.withLock { $0.waits[token] }?.interrupt()
  }
}

extension LockOutcome {
  fileprivate var errorNumber: Int32 {
    switch self {
    case .granted: 0
    case .conflict: EAGAIN
    case .interrupted: EINTR
    case .deadlock: EDEADLK
    case .failed(let code): code.errorNumber
    }
  }
}

extension LockRange {
  /// The kernel has already made the start absolute; a length of zero is "to the end".
  fileprivate init(_ lock: flock) throws(SystemCallError) {
    let (start, length) = (Int64(lock.l_start), Int64(lock.l_len))
    guard start >= 0, length >= 0 else { throw SystemCallError(EINVAL) }
    let (next, overflow) = start.addingReportingOverflow(length)
    guard !overflow else { throw SystemCallError(EINVAL) }
    self.init(start, length == 0 ? .max : next - 1)
  }
}

extension flock {
  fileprivate static var unlocked: flock {
    var lock = flock()
    lock.l_type = Int16(F_UNLCK)
    return lock
  }

  fileprivate init(_ held: HeldLock) {
    self.init()
    l_type = Int16(held.kind == .write ? F_WRLCK : F_RDLCK)
    l_whence = Int16(SEEK_SET)
    l_start = off_t(held.range.start)
    l_len = held.range.end == .max ? 0 : off_t(held.range.end - held.range.start + 1)
    l_pid = held.owner == .daemon ? getpid() : held.pid
  }
}
