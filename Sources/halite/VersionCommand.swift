import ArgumentParser
import Node

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version",
    abstract: "Print the version."
  )

  func run() { print("halite \(HaliteVersion.text)") }
}
