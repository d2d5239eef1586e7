import ArgumentParser
import Node

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a command beside the running node, on the primary alone if that is asked for.",
    discussion: """
      For what is to be done once in a cluster, such as a migration: \
      halite run --on-primary -- my-server migrate
      Where the command is run, its exit code is that of halite.
      """
  )

  @OptionGroup var options: ConfigurationOptions

  @Flag(
    name: .long,
    help: "Run it only if this node is the primary; otherwise say who is, and end with success."
  )
  var onPrimary = false

  @Flag(name: .long, help: "Make this node the primary first, as `halite promote` does.")
  var promote = false

  @Argument(parsing: .postTerminator, help: ArgumentHelp("What to run.", valueName: "CMD"))
  var command: [String] = []

  func validate() throws {
    guard command.isEmpty else { return }
    throw ValidationError("What is to be run follows --, as in: halite run --on-primary -- CMD")
  }

  func run() async throws {
    let client = try options.client()
    if promote { Terminal.complain("halite: " + (try await client.promote())) }
    let status = try await client.status().status
    if onPrimary, status.node.role != .primary {
      let primary = status.primary.map { "\($0.name) is" } ?? "at the moment there is none"
      Terminal.complain(
        "halite: \(status.node.name) is not the primary, \(primary); the command is not run here"
      )
      return
    }
    try replaceProcess()
  }

  /// The command takes this process's place, so that signals and its exit code need nobody in between.
  private func replaceProcess() throws {
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    words.append(nil)
    execvp(command[0], words)
    let reason = String(cString: strerror(errno))
    for word in words { free(word) }
    Terminal.complain("halite: cannot run \(command[0]): \(reason); check the command after --")
    throw ExitCode(ExitStatus.failure)
  }
}
