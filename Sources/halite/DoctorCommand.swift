import ArgumentParser
import Foundation
import Node
import Synchronization

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Look at what a node needs, and say how to mend it.",
    discussion: """
      With --deep, on a node that is stopped: read all databases, the log and the node's own \
      records, and compare them with their checksums. Nothing is changed.

      Exit code 1 when something would keep the node from running, or is damaged.
      """
  )

  @OptionGroup var options: ConfigurationOptions

  @Flag(name: .long, help: "Print JSON.")
  var json = false

  @Flag(name: .long, help: "Verify everything a stopped node has on its disk.")
  var deep = false

  func run() async throws {
    let loaded = try options.load()
    let findings =
      deep
      ? try await verify(DeepExamination(loaded.configuration))
      : try await Doctor(loaded, environment: ProcessInfo.processInfo.environment).examine()
    Terminal.write(json ? try DoctorReport.json(findings) : DoctorReport.text(findings))
    if !DoctorReport.isHealthy(findings) { throw ExitCode(ExitStatus.failure) }
  }

  private func verify(_ examination: DeepExamination) async throws -> [DoctorFinding] {
    let bar = SharedBar("verifying")
    defer { bar.finish() }
    return try await examination.findings { done, total in bar.update(done, of: total) }
  }
}

/// A progress bar that another thread moves.
private final class SharedBar: Sendable {
  private let bar: Mutex<ProgressBar>

  init(_ title: String) { bar = Mutex(ProgressBar(title)) }

  func update(_ done: Int64, of total: Int64) { bar.withLock { $0.update(done, of: total) } }
  func finish() { bar.withLock { $0.finish() } }
}
