import Foundation
import Glibc

/// A `halite mount` process of the run.
final class Node {
  private static let readySeconds = 30.0
  private static let stopSeconds = 15.0

  let name: String
  private let halite: String
  private let home: String
  private let http: Int
  private let cleanup: Cleanup
  private var process: Process?

  var mount: String { home + "/mnt" }
  var configuration: String { home + "/halite.yml" }

  init(name: String, halite: String, home: String, http: Int, cleanup: Cleanup) {
    self.name = name
    self.halite = halite
    self.home = home
    self.http = http
    self.cleanup = cleanup
  }

  func start(untilReady: Bool = true) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: halite)
    process.arguments = ["mount", "--config", configuration]
    _ = FileManager.default.createFile(atPath: home + "/log", contents: nil)
    let log = FileHandle(forWritingAtPath: home + "/log")
    process.standardOutput = log
    process.standardError = log
    process.standardInput = FileHandle.nullDevice
    cleanup.add(mount: mount)
    try process.run()
    cleanup.add(process: process.processIdentifier)
    self.process = process
    if untilReady { try waitUntilReady() }
  }

  func waitUntilReady() throws {
    try Deadline.wait(seconds: Self.readySeconds, for: "\(name) to be ready; its log: \(log)") {
      guard process?.isRunning == true else { throw Failure("\(name) has ended; its log: \(log)") }
      return Loopback.get("/ready", port: http) != nil
    }
  }

  /// Ends the node as an operator would; one that does not end in time is killed, which is no
  /// reason to lose the figures of a run, but is said.
  func stop() throws {
    guard let process else { return }
    process.terminate()
    do {
      try Deadline.wait(seconds: Self.stopSeconds, for: "\(name) to end") { !process.isRunning }
    } catch {
      let text = "halite-bench: \(error), and killed it; its log: \(log)\n"
      FileHandle.standardError.write(Data(text.utf8))
      kill(process.processIdentifier, SIGKILL)
      try Deadline.wait(seconds: Self.stopSeconds, for: "\(name) to die") { !process.isRunning }
    }
    self.process = nil
    cleanup.remove(process: process.processIdentifier)
    Cleanup.unmount(mount)
  }

  /// A series of `/metrics`, by its name and labels as written there.
  func metric(_ series: String) throws -> Double {
    guard let text = Loopback.get("/metrics", port: http) else {
      throw Failure("\(name) has no metrics; its log: \(log)")
    }
    let line = text.split(separator: "\n").first { $0.hasPrefix(series + " ") }
    guard let line, let value = Double(line.dropFirst(series.count + 1)) else {
      throw Failure("\(name) has no metric \(series)")
    }
    return value
  }

  /// Ends the node as a crash would.
  func crash() throws {
    guard let process else { return }
    kill(process.processIdentifier, SIGKILL)
    try Deadline.wait(seconds: Self.stopSeconds, for: "\(name) to die") { !process.isRunning }
    self.process = nil
    cleanup.remove(process: process.processIdentifier)
  }

  /// Processor time used so far, in seconds.
  func processorTime() throws -> Double {
    let path = "/proc/\(process?.processIdentifier ?? 0)/stat"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    // Behind the command's name, which may hold anything, from the third field on.
    let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
    guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else {
      throw Failure("\(path) cannot be read")
    }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Resident memory in MiB, now and at most so far.
  func memory() throws -> (now: Double, peak: Double) {
    let path = "/proc/\(process?.processIdentifier ?? 0)/status"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    func value(_ key: String) -> Double {
      let line = text.split(separator: "\n").first { $0.hasPrefix(key) } ?? ""
      return (Double(line.filter(\.isNumber)) ?? 0) / 1024
    }
    return (value("VmRSS:"), value("VmHWM:"))
  }

  private var log: String {
    String(((try? String(contentsOfFile: home + "/log", encoding: .utf8)) ?? "").suffix(2000))
  }
}
