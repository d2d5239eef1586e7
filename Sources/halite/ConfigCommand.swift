import ArgumentParser
import Node

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Check or print the configuration.",
    subcommands: [Check.self, Print.self]
  )

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "check",
      abstract: "Name every problem; exit code 2 if there is an error."
    )
    @OptionGroup var options: ConfigurationOptions

    func run() throws {
      let loaded = try options.load()
      for warning in loaded.warnings { Terminal.complain(warning.description) }
      print("\(loaded.file ?? "command line"): ok")
    }
  }

  struct Print: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "print",
      abstract: "Print the effective configuration, defaults filled in."
    )
    @OptionGroup var options: ConfigurationOptions

    func run() throws {
      let loaded = try options.load()
      for warning in loaded.warnings { Terminal.complain(warning.description) }
      Terminal.write(loaded.configuration.yaml)
    }
  }
}
