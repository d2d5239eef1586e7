import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// One node of a test: a `halite mount` process.
final class Node: Sendable {
  let name: String
  let home: String
  let http: Int
  private let process = Mutex<Process?>(nil)

  var mount: String { home + "/mnt" }
  var data: String { home + "/data" }
  var configuration: String { home + "/halite.yml" }

  init(name: String, home: String, http: Int) {
    self.name = name
    self.home = home
    self.http = http
  }

  /// The command under test, built beside the tests.
  static let binary = sibling("halite")

  /// Path of a program that is built beside the tests.
  static func sibling(_ name: String) -> String {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent(name).path
  }

  static func halite(_ arguments: [String], seconds: Int = 60) async throws -> Command.Result {
    try await Command.run([binary] + arguments, seconds: seconds)
  }

  func halite(_ command: String, _ arguments: [String] = [], seconds: Int = 60) async throws
    -> Command.Result
  {
    try await Node.halite([command, "--config", configuration] + arguments, seconds: seconds)
  }

  var processIdentifier: Int32 { process.withLock { $0?.processIdentifier ?? 0 } }

  /// Starts the node and returns once it says that it is ready.
  func start(_ command: [String] = [], untilReady: Bool = true) async throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Node.binary)
    process.arguments =
      ["mount", "--config", configuration] + (command.isEmpty ? [] : ["--"] + command)
    _ = FileManager.default.createFile(atPath: home + "/log", contents: nil)
    let log = FileHandle(forWritingAtPath: home + "/log")
    process.standardOutput = log
    process.standardError = log
    process.standardInput = FileHandle.nullDevice
    try process.run()
    try log?.close()
    self.process.withLock { $0 = process }
    if untilReady { try await waitUntilReady() }
  }

  func waitUntilReady(seconds: Double = 30) async throws {
    try await Deadline.wait(
      seconds: seconds,
      for: "\(name) to be ready; its log: \(report)"
    ) {
      guard process.withLock({ $0.map { $0.waitForEnd(seconds: 0) == nil } }) == true else {
        throw Failure("\(name) has ended; its log: \(report)")
      }
      return try await Command.run(
        ["curl", "-sf", "-m", "5", "http://127.0.0.1:\(http)/ready"],
        seconds: 10
      ).isSuccess
    }
  }

  var log: String { (try? String(contentsOfFile: home + "/log", encoding: .utf8)) ?? "" }

  /// What of the log explains an end: a trap's own words, and the last lines. In one line, since the summary of a run keeps
  /// no more of a failure.
  var report: String {
    let lines = log.split(separator: "\n")
    return (lines.filter { $0.contains("atal error") } + lines.suffix(12)).joined(separator: " | ")
  }

  /// What the threads wait for in the kernel, for a node that does not end.
  private var threads: String {
    let tasks = "/proc/\(processIdentifier)/task"
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
    return numbers.map { number in
      ["comm", "wchan"].map { file in
        let text =
          (try? String(contentsOfFile: "\(tasks)/\(number)/\(file)", encoding: .utf8)) ?? "?"
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
      }.joined(separator: " in ")
    }.joined(separator: ", ")
  }

  func signal(_ number: Int32) {
    let identifier = processIdentifier
    if identifier > 0 { kill(identifier, number) }
  }

  /// Ends the node as an operator would; its exit code.
  @discardableResult
  func stop(seconds: Double = 30) async throws -> Int32 {
    signal(SIGCONT)
    signal(SIGTERM)
    return try await waitForEnd(seconds: seconds)
  }

  /// Ends the node as a crash would.
  func crash() async throws {
    signal(SIGKILL)
    _ = try await waitForEnd(seconds: 30)
  }

  func waitForEnd(seconds: Double) async throws -> Int32 {
    guard let process = process.withLock({ $0 }) else { return 0 }
    var code: Int32?
    try await Deadline.wait(
      seconds: seconds,
      for: "\(name) to end; its threads: \(threads); its log: \(report)"
    ) {
      code = process.waitForEnd(seconds: 0)
      return code != nil
    }
    self.process.withLock { $0 = nil }
    return code ?? 128
  }

  /// Whatever the test came to: no process and no mount is left.
  func discard() {
    signal(SIGCONT)
    signal(SIGKILL)
    let left = process.withLock { process in
      defer { process = nil }
      return process
    }
    // Waited for in vain where it hangs in its own mount, which then goes first.
    _ = left?.waitForEnd(seconds: 10)
    umount2(mount, Int32(MNT_DETACH))
  }

  /// The JSON of `halite status`.
  func status() async throws -> [String: Any] {
    let result = try await Command.run(
      ["curl", "-sf", "-m", "5", "http://127.0.0.1:\(http)/status"],
      seconds: 10
    )
    guard
      let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8))
        as? [String: Any]
    else { throw Failure("\(name) has no status") }
    return object
  }
}

/// Waits for conditions.
enum Deadline {
  /// Asks again and again until the condition holds; fails when it does not in time.
  static func wait(
    seconds: Double,
    for what: @autoclosure () -> String,
    until condition: () async throws -> Bool
  ) async throws {
    let end = ContinuousClock.now + .seconds(seconds)
    while try await !condition() {
      guard ContinuousClock.now < end else { throw Failure("waited \(seconds) s for \(what())") }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
