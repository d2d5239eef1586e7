import ArgumentParser
import Logging
import Node

struct MountCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Run a node: mount the file system, replicate, run a command.",
    discussion: """
      With --dir and without --config this is a single node that needs no configuration file.
      What follows -- is run on the mount in place of "exec"; its end is the end of the node, and \
      its exit code the node's.
      """
  )

  @OptionGroup var options: ConfigurationOptions

  @Argument(parsing: .postTerminator, help: ArgumentHelp("Run on the mount.", valueName: "CMD"))
  var command: [String] = []

  func run() async throws {
    let loaded = try options.load(command: command)
    let configuration = loaded.configuration
    configuration.log.bootstrap()
    let logger = Logger(label: "halite")
    for warning in loaded.warnings {
      logger.warning("configuration", metadata: ["problem": "\(warning)"])
    }
    let code: Int32
    do {
      code = try await HaliteNode.run(configuration: configuration)
    } catch {
      logger.critical("the node cannot go on", metadata: ["error": "\(error)"])
      throw ExitCode(ExitStatus.failure)
    }
    if code != ExitStatus.success { throw ExitCode(code) }
  }
}
