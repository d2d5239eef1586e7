import Foundation
package import Logging
import ServiceLifecycle
import Synchronization
import UnixSignals

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Runs the commands of `exec`, or the one after `--`, on the mount.
///
/// All but the last run to completion, one after the other; the first that fails ends the node
/// with its code. The end of the last ends the node too. When the node is told to stop, the
/// command is asked to end first, while the mount still works, and is killed after a while.
package final class ExecService: Service {
  private struct State {
    var child: ChildProcess?
    var isStopping = false
    var signal: Int32?
    var exitCode: Int32 = 0
  }

  private let commands: [ExecCommand]
  private let environment: [String: String]
  private let grace: Duration
  private let logger: Logger
  private let state = Mutex(State())

  package init(
    commands: [ExecCommand],
    isCandidate: Bool,
    grace: Duration,
    logger: Logger,
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) {
    self.commands = commands.filter { !$0.onlyIfCandidate || isCandidate }
    self.environment = environment
    self.grace = grace
    self.logger = logger
  }

  /// The code to end the process with, once `run` has returned.
  package var exitCode: Int32 { state.withLock { $0.exitCode } }

  /// Returns when the last command has ended, or when one has failed.
  ///
  /// With nothing to run it waits for the shutdown.
  package func run() async throws {
    guard !commands.isEmpty else { return try await gracefulShutdown() }
    // Trapped before a command runs: from then on somebody may send one.
    let signals = await UnixSignalsSequence(
      trapping: .sigterm,
      .sigint,
      .sighup,
      .sigusr1,
      .sigusr2,
      .sigwinch
    )
    let forwarding = Task { await forward(signals) }
    defer { forwarding.cancel() }
    let (stopping, stop) = AsyncStream<Void>.makeStream()
    await withGracefulShutdownHandler {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { [self] in
          for await _ in stopping { break }
          await terminate()
        }
        for command in commands {
          guard await runToEnd(command) == 0 else { break }
        }
        stop.finish()
        group.cancelAll()
      }
    } onGracefulShutdown: {
      self.state.withLock { $0.isStopping = true }
      stop.yield()
    }
  }

  /// Runs one command; its exit code, or that of a shell for one that cannot be started.
  private func runToEnd(_ command: ExecCommand) async -> Int32 {
    let name = command.arguments.first ?? ""
    let child: ChildProcess
    let isStopping: Bool
    do throws(ChildProcessError) {
      (child, isStopping) = try start(command)
    } catch {
      logger.error("command cannot be run", metadata: ["command": "\(name)", "error": "\(error)"])
      state.withLock { $0.exitCode = error.number == ENOENT ? 127 : 126 }
      return 127
    }
    logger.info(
      "command started",
      metadata: ["command": "\(name)", "process": "\(child.identifier)"]
    )
    let exit = isStopping ? await child.terminate(grace: grace) : await child.wait()
    logger.info("command ended", metadata: ["command": "\(name)", "exit": "\(exit)"])
    return state.withLock { state in
      state.child = nil
      state.exitCode = exit.code
      return state.isStopping ? max(exit.code, 1) : exit.code
    }
  }

  /// Starts a command so that no signal is passed on before it is known to whom.
  private func start(
    _ command: ExecCommand
  ) throws(ChildProcessError) -> (child: ChildProcess, isStopping: Bool) {
    try state.withLock { state throws(ChildProcessError) in
      let child = try ChildProcess(command.arguments, environment: environment)
      state.child = child
      return (child, state.isStopping)
    }
  }

  private func terminate() async {
    let (child, signal) = state.withLock { ($0.child, $0.signal) }
    guard let child else { return }
    // One that has been passed on already is not doubled by another.
    _ = await child.terminate(signal: signal ?? SIGTERM, grace: grace)
  }

  /// Passes on what is meant for the command, until cancelled.
  private func forward(_ signals: UnixSignalsSequence) async {
    for await signal in signals {
      let number = signal.rawValue
      let child = state.withLock { state in
        if signal == .sigterm || signal == .sigint { state.signal = number }
        return state.child
      }
      child?.signal(number)
    }
  }
}
