import Foundation
import Glibc
import Replication
import Synchronization

/// The `openssl` command: an implementation of TLS and X.509 that has nothing in common with ours.
struct OpenSSL {
  struct Output: Sendable {
    var status: Int32
    var text: String
  }

  /// Runs to its end, at most a minute; `input` is kept open until then.
  static func run(_ arguments: [String]) throws -> Output {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["timeout", "-s", "KILL", "60", "openssl"] + arguments
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try input.fileHandleForWriting.close()
    return Output(status: process.terminationStatus, text: text)
  }
}

extension OpenSSL {
  private static func start(
    _ arguments: [String]
  ) throws -> (process: Process, input: FileHandle, output: FileHandle) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl"] + arguments
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    process.standardError = output
    try process.run()
    return (process, input.fileHandleForWriting, output.fileHandleForReading)
  }

  /// Runs a client until it has shaken hands or ended; what it printed.
  static func runUntilHandshake(_ arguments: [String]) throws -> String {
    let (process, input, output) = try start(arguments)
    var text = ""
    while !text.contains("Server Temp Key") {
      let data = output.availableData
      if data.isEmpty { break }
      text += String(decoding: data, as: UTF8.self)
    }
    try input.close()
    process.kill()
    process.waitUntilExit()
    return text
  }

  /// Runs a client until the server ends the connection; what it printed.
  static func runUntilClosed(_ arguments: [String]) throws -> String {
    let (process, input, output) = try start(arguments)
    let text = String(decoding: output.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try input.close()
    return text
  }
}

extension Process {
  /// Ends it for certain: the signal mask that a child inherits may block the polite signals.
  fileprivate func kill() { _ = Glibc.kill(processIdentifier, SIGKILL) }
}

/// `openssl s_server` on a port of its own choice.
final class OpenSSLServer: @unchecked Sendable {
  let port: Int
  private let process: Process
  private let input: FileHandle
  /// Guarded by its own lock; the process and the pipe are only touched by `init` and `stop`.
  private let bytes: OutputBuffer

  init(_ files: TLSFiles, clientAuthority: String) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-Verify", "2",
      "-verify_return_error", "-cert", files.certificate, "-key", files.key, "-CAfile",
      clientAuthority,
    ]
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    process.standardError = output
    let bytes = OutputBuffer()
    output.fileHandleForReading.readabilityHandler = { handle in
      bytes.append(Array(handle.availableData))
    }
    try process.run()
    self.process = process
    self.bytes = bytes
    self.input = input.fileHandleForWriting
    port = try bytes.waitForPort()
  }

  func received(_ needle: [UInt8]) -> Bool { bytes.contains(needle) }

  func stop() {
    process.kill()
    process.waitUntilExit()
    try? input.close()
  }
}

/// What a process has printed.
final class OutputBuffer: Sendable {
  private let bytes = Mutex<[UInt8]>([])

  func append(_ more: [UInt8]) { bytes.withLock { $0 += more } }

  func contains(_ needle: [UInt8]) -> Bool {
    bytes.withLock { bytes in
      bytes.indices.contains { bytes[$0...].starts(with: needle) }
    }
  }

  /// The port in a line like `ACCEPT 127.0.0.1:40123`.
  func waitForPort() throws -> Int {
    let deadline = Date() + 30
    while Date() < deadline {
      let text = bytes.withLock { String(decoding: $0, as: UTF8.self) }
      if let line = text.split(separator: "\n").first(where: { $0.hasPrefix("ACCEPT ") }),
        text.contains("\n"), let port = line.split(separator: ":").last.flatMap({ Int($0) })
      {
        return port
      }
      usleep(1_000)
    }
    throw CocoaError(.fileReadUnknown)
  }
}

/// Makes a blocking call on a thread of its own.
func detached<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}

/// A directory that goes with its owner.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "replication-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file whole; its path.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let file = path + "/" + name
    try Data(text.utf8).write(to: URL(fileURLWithPath: file), options: .atomic)
    return file
  }

  func write(_ name: String, _ contents: TLSFileContents) throws -> TLSFiles {
    TLSFiles(
      authority: try write(name + "-ca.pem", contents.authority),
      certificate: try write(name + ".pem", contents.certificate),
      key: try write(name + "-key.pem", contents.key)
    )
  }
}
