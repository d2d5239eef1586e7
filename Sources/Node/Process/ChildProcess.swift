import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// A program run by the node, in a process group of its own.
///
/// The group lets a signal reach a shell's children too, and keeps a Ctrl-C meant for the node from
/// reaching the program twice. Where the node owns the terminal the group is put in its foreground,
/// so that an interactive program works. The program gets none of the node's descriptors and none
/// of its ignored or blocked signals.
package final class ChildProcess: Sendable {
  /// How a program ended.
  package enum Exit: Sendable, Equatable {
    case code(Int32)
    case signal(Int32)

    /// What a shell would report.
    package var code: Int32 {
      switch self {
      case .code(let code): code
      case .signal(let number): 128 + number
      }
    }
  }

  private struct State {
    var exit: Exit?
    var waiters: [CheckedContinuation<Exit, Never>] = []
  }

  package let identifier: Int32
  private let state = Mutex(State())
  private let ownsTerminal: Bool

  /// Starts a program, found along `PATH` when its name has no slash.
  package init(
    _ arguments: [String],
    environment: [String: String]
  ) throws(ChildProcessError) {
    precondition(!arguments.isEmpty, "a command has at least a program")
    (identifier, ownsTerminal) = try Self.spawn(arguments, environment)
    let thread = Thread { [self] in reap() }
    thread.name = "child"
    thread.stackSize = 256 * 1024
    thread.start()
  }

  /// Sends a signal to the whole group; nothing once the program has ended.
  package func signal(_ number: Int32) {
    state.withLock { state in
      // While it has not been reaped its identifier cannot be another's.
      if state.exit == nil { kill(-identifier, number) }
    }
  }

  /// Waits for the end of the program itself.
  package func wait() async -> Exit {
    await withCheckedContinuation { continuation in
      let exit: Exit? = state.withLock { state in
        if state.exit == nil { state.waiters.append(continuation) }
        return state.exit
      }
      if let exit { continuation.resume(returning: exit) }
    }
  }

  /// Asks the program to end, and kills its group when it has not after a while.
  package func terminate(signal number: Int32 = SIGTERM, grace: Duration) async -> Exit {
    signal(number)
    // A stopped program could not end.
    signal(SIGCONT)
    return await withTaskGroup(of: Void.self) { group in
      group.addTask {
        // Cancelled when the program ends in time.
        if (try? await Task.sleep(for: grace)) != nil { self.signal(SIGKILL) }
      }
      defer { group.cancelAll() }
      return await wait()
    }
  }

  // MARK: - The system

  /// Blocks the child's own thread until the program has ended.
  private func reap() {
    var information = siginfo_t()
    // Leaves the process a zombie, so that `signal` cannot hit another one.
    while waitid(P_PID, id_t(identifier), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    let waiters = state.withLock { state in
      var status: Int32 = 0
      while waitpid(identifier, &status, 0) < 0, errno == EINTR {}
      let number = status & 0x7f
      state.exit = number == 0 ? .code((status >> 8) & 0xff) : .signal(number)
      defer { state.waiters = [] }
      return state.waiters
    }
    if ownsTerminal { Self.takeTerminal(for: getpgrp()) }
    let exit = state.withLock { $0.exit } ?? .code(0)
    for waiter in waiters { waiter.resume(returning: exit) }
  }

  private static func spawn(
    _ arguments: [String],
    _ environment: [String: String]
  ) throws(ChildProcessError) -> (identifier: Int32, ownsTerminal: Bool) {
    var attributes = posix_spawnattr_t()
    var actions = posix_spawn_file_actions_t()
    posix_spawnattr_init(&attributes)
    posix_spawn_file_actions_init(&actions)
    defer {
      posix_spawnattr_destroy(&attributes)
      posix_spawn_file_actions_destroy(&actions)
    }
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes,
      Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)
    )
    keepDescriptors()

    let words = CStrings(arguments)
    let variables = CStrings(environment.map { "\($0.key)=\($0.value)" }.sorted())
    let ownsTerminal = isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) == getpgrp()
    var identifier: pid_t = 0
    let result = posix_spawnp(
      &identifier,
      arguments[0],
      &actions,
      &attributes,
      words.pointers,
      variables.pointers
    )
    guard result == 0 else {
      throw ChildProcessError(program: arguments[0], number: result)
    }
    if ownsTerminal { takeTerminal(for: identifier) }
    return (identifier, ownsTerminal)
  }

  /// Marks every descriptor but the standard ones to be closed in the program: one of the mount's
  /// own held open there would keep the mount alive after the node.
  private static func keepDescriptors() {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    for descriptor in names.compactMap({ Int32($0) }) where descriptor > STDERR_FILENO {
      let flags = fcntl(descriptor, F_GETFD)
      if flags >= 0 { _ = fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) }
    }
  }

  /// Makes a group the terminal's foreground; blocked, since a background group that does so is
  /// otherwise stopped.
  private static func takeTerminal(for group: pid_t) {
    var blocked = sigset_t()
    var old = sigset_t()
    sigemptyset(&blocked)
    sigaddset(&blocked, SIGTTOU)
    pthread_sigmask(SIG_BLOCK, &blocked, &old)
    tcsetpgrp(STDIN_FILENO, group)
    pthread_sigmask(SIG_SETMASK, &old, nil)
  }
}

/// A program that cannot be started.
package struct ChildProcessError: Error, Sendable, CustomStringConvertible {
  package let program: String
  package let number: Int32

  package var description: String {
    let reason = String(cString: strerror(number))
    return "cannot run \(program): \(reason); check the command after -- or in exec"
  }
}

/// A null-terminated array of C strings that lives as long as the value.
private final class CStrings {
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ texts: [String]) {
    count = texts.count
    pointers = .allocate(capacity: count + 1)
    for (index, text) in texts.enumerated() {
      pointers.advanced(by: index).initialize(to: strdup(text))
    }
    pointers.advanced(by: count).initialize(to: nil)
  }

  deinit {
    for index in 0..<count { free(pointers[index]) }
    pointers.deinitialize(count: count + 1)
    pointers.deallocate()
  }
}
