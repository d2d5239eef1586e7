import Dispatch
import Foundation
import Glibc

/// A program run to its end under a time limit.
enum Child {
  /// What it wrote to standard output.
  ///
  /// - Parameter seconds: after these it is killed, and the run fails.
  @discardableResult
  static func run(_ program: String, _ arguments: [String], seconds: Double) throws -> Data {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    // One pipe for both: an answer is one line, and only a failure writes anything else.
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.run()
    let name = arguments.prefix(4).joined(separator: " ")
    guard ended.wait(timeout: .now() + seconds) == .success else {
      // Not waited for: who is stuck in a dead mount ends only when that has gone.
      kill(process.processIdentifier, SIGKILL)
      throw Failure("\(name): took longer than \(seconds) s")
    }
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    guard process.terminationReason == .exit, process.terminationStatus == 0 else {
      let text = String(decoding: output, as: UTF8.self)
      throw Failure("\(name): failed: \(text)")
    }
    return output
  }

  /// This program itself, for a job on files that may lie on a mount.
  @discardableResult
  static func work(_ arguments: [String], seconds: Double = 60) throws -> Data {
    try run("/proc/self/exe", ["work"] + arguments, seconds: seconds)
  }

  static func work<Answer: Decodable>(
    _ arguments: [String],
    seconds: Double = 60,
    as type: Answer.Type
  ) throws -> Answer {
    try JSONDecoder().decode(type, from: work(arguments, seconds: seconds))
  }
}
