import ArgumentParser
import LTX
import Node

struct LTXCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ltx",
    abstract: "Look into transaction files.",
    subcommands: [Dump.self, Verify.self]
  )

  struct Files: ParsableArguments {
    @Flag(name: .long, help: "Print JSON, one object a line.")
    var json = false

    @Argument(help: "LTX files.", completion: .file(extensions: ["ltx"]))
    var files: [String]

    /// Reports on every file; one that is damaged makes the command fail.
    func inspect(_ action: LTXInspection.Action) throws {
      let inspection = LTXInspection(action: action, form: json ? .json : .text)
      guard inspection.report(on: files, write: Terminal.write) else {
        throw ExitCode(ExitStatus.failure)
      }
    }
  }

  struct Dump: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "dump",
      abstract: "Print header, pages and trailer."
    )
    @OptionGroup var files: Files
    func run() throws { try files.inspect(.dump) }
  }

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "verify",
      abstract: "Check that files are whole."
    )
    @OptionGroup var files: Files
    func run() throws { try files.inspect(.verify) }
  }
}
