import Dispatch
import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// A program run to its end, always under a time limit: a test must never touch a mount itself,
/// since a dead lock in the daemon would then hang the test run beyond help.
enum Command {
  struct Result: Sendable {
    var code: Int32
    var output: String
    var isSuccess: Bool { code == 0 }
  }

  /// Runs a program; standard error is part of the output.
  ///
  /// - Parameter seconds: after these `timeout` ends it, with code 124, or 128 where it must be killed.
  static func run(
    _ arguments: [String],
    seconds: Int = 60,
    environment: [String: String] = [:],
    directory: String? = nil
  ) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        do {
          continuation.resume(
            returning: try runNow(
              arguments,
              seconds: seconds,
              environment: environment,
              directory: directory
            )
          )
        } catch {
          continuation.resume(throwing: error)
        }
      }
    }
  }

  private static func runNow(
    _ arguments: [String],
    seconds: Int,
    environment: [String: String],
    directory: String?
  ) throws -> Result {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
    process.arguments = ["-k", "5", "\(seconds)"] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
    // A file and not a pipe: what a program leaves running would keep a pipe open for ever.
    let path = NSTemporaryDirectory() + "/halite-output-" + UUID().uuidString
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Failure("no file for the output: errno \(errno)") }
    unlink(path)
    let output = FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
    // Not left to the handle: Foundation may keep the process, and with it the handle, for good.
    defer { close(descriptor) }
    process.standardOutput = output
    process.standardError = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let end = process.waitForEnd(seconds: Double(seconds) + grace)
    if end == nil { throw Failure(report(hung: process, arguments)) }
    // `timeout` leads a process group, which nothing of a failed program may outlive.
    kill(-process.processIdentifier, SIGKILL)
    try output.seek(toOffset: 0)
    return Result(
      code: end ?? 128,
      output: String(decoding: try output.readToEnd() ?? Data(), as: UTF8.self)
    )
  }

  /// How long `timeout` takes at most, in seconds, unless the program cannot even be killed.
  private static let grace = 20.0

  /// What is known of a program that no signal ends, for it waits for a mount that does not answer. The
  /// mounts are cut off, so that it ends and other tests go on.
  private static func report(hung process: Process, _ arguments: [String]) -> String {
    let look = Process()
    look.executableURL = URL(fileURLWithPath: "/bin/bash")
    look.arguments = [
      script("free_hung_mounts.sh"), Cluster.prefix, "\(process.processIdentifier)",
    ]
    let pipe = Pipe()
    look.standardOutput = pipe
    look.standardError = pipe
    look.standardInput = FileHandle.nullDevice
    var text = "\(arguments.prefix(3).joined(separator: " ")) hangs"
    do {
      try look.run()
      text +=
        "\n" + String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    } catch { text += ", and nothing could be learned of it: \(error)" }
    _ = process.waitForEnd(seconds: grace)
    return text
  }

  /// A script of this directory.
  static func script(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Scripts/\(name)").path
  }

  static func python(
    _ script: String,
    _ arguments: [String],
    seconds: Int = 120
  ) async throws -> Result {
    try await run(["python3", Command.script(script)] + arguments, seconds: seconds)
  }

  /// Statements to the `sqlite3` shell.
  static func sqlite(
    _ path: String,
    _ statements: String,
    options: [String] = [],
    seconds: Int = 60
  ) async throws -> Result {
    try await run(
      ["sqlite3", "-batch", "-bail"] + options + [path, statements],
      seconds: seconds
    )
  }
}
