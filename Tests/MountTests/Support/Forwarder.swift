import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Passes a TCP port on to another, until it is stopped: a network that can be cut.
final class Forwarder {
  private let process = Process()

  init(from port: Int, to target: Int) throws {
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", Command.script("forward.py"), "\(port)", "\(target)"]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    // It says one line once it listens.
    guard pipe.fileHandleForReading.availableData.count > 0 else {
      throw Failure("the forwarder does not listen")
    }
  }

  func stop() {
    // Not by SIGTERM: a child of a test inherits a mask in which that is blocked.
    kill(process.processIdentifier, SIGKILL)
    _ = process.waitForEnd(seconds: 10)
  }
}
