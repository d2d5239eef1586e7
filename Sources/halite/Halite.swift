import ArgumentParser
import Node

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The command: parses arguments, runs `Node`.
@main
struct Halite: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "halite",
    abstract: "High availability for applications on SQLite.",
    discussion: """
      Halite is a file system: an application opens its SQLite database on the mount as usual, and \
      every transaction it commits on the primary is replicated to the other nodes.

      Exit codes: 0 success, 1 failure, 2 usage or configuration, otherwise that of the command run.
      """,
    version: "halite \(HaliteVersion.text)",
    subcommands: [
      MountCommand.self, RunCommand.self, StatusCommand.self, PromoteCommand.self,
      DemoteCommand.self,
      ImportCommand.self, ExportCommand.self,
      LTXCommand.self, CertCommand.self, ConfigCommand.self, DoctorCommand.self,
      VersionCommand.self,
    ]
  )

  static func main() async {
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch let error as ConfigurationError {
      Terminal.complain(error.description)
      ExitStatus.end(ExitStatus.usage)
    } catch let error as ControlError {
      Terminal.complain("halite: \(error)")
      ExitStatus.end(ExitStatus.failure)
    } catch {
      end(error)
    }
  }

  /// Ends with what the parser makes of an error: help, usage, a command's own exit code.
  private static func end(_ error: any Error) -> Never {
    let code = exitCode(for: error)
    let message = fullMessage(for: error)
    if code == .success {
      if !message.isEmpty { print(message) }
      ExitStatus.end(ExitStatus.success)
    }
    if !message.isEmpty { Terminal.complain(message) }
    ExitStatus.end(code == .validationFailure ? ExitStatus.usage : code.rawValue)
  }
}

/// The exit codes of the contract.
enum ExitStatus {
  static let success: Int32 = 0
  static let failure: Int32 = 1
  static let usage: Int32 = 2

  /// `exit` of the C library; inside a command that name is the parser's.
  static func end(_ code: Int32) -> Never { exit(code) }
}
