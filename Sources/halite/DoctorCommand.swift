import ArgumentParser
import Foundation
import Node

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Look at what a node needs, and say how to mend it.",
    discussion: "Exit code 1 when something would keep the node from running."
  )

  @OptionGroup var options: ConfigurationOptions

  @Flag(name: .long, help: "Print JSON.")
  var json = false

  func run() async throws {
    let doctor = Doctor(try options.load(), environment: ProcessInfo.processInfo.environment)
    let findings = try await doctor.examine()
    Terminal.write(json ? try DoctorReport.json(findings) : DoctorReport.text(findings))
    if !DoctorReport.isHealthy(findings) { throw ExitCode(ExitStatus.failure) }
  }
}
