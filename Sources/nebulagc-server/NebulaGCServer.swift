import ArgumentParser
import Server

@main
struct NebulaGCServer: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nebulagc-server",
    abstract: "The control plane of Nebula networks, on one SQLite database.",
    version: ServerVersion.text,
    subcommands: [ServeCommand.self, AdminCommand.self, UtilCommand.self],
    defaultSubcommand: ServeCommand.self
  )
}
