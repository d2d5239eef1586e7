import ArgumentParser
import Node

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Show the state of the running node and its peers."
  )

  @OptionGroup var options: ConfigurationOptions

  @Flag(name: .long, help: "Print JSON, one document a line.")
  var json = false

  @Flag(name: .long, help: "Show it again every second, until interrupted.")
  var watch = false

  func run() async throws {
    let client = try options.client()
    guard watch else { return show(try await client.status()) }
    let isTerminal = isatty(STDOUT_FILENO) == 1
    while true {
      let clear = isTerminal && !json ? "\u{1b}[H\u{1b}[2J" : ""
      do {
        let answer = try await client.status()
        Terminal.write(clear)
        show(answer)
      } catch {
        // A node that restarts is worth waiting for.
        Terminal.write(clear)
        Terminal.complain("halite: \(error)")
      }
      if !isTerminal, !json { Terminal.write("\n") }
      try await Task.sleep(for: .seconds(1))
    }
  }

  private func show(_ answer: (json: [UInt8], status: NodeStatus)) {
    Terminal.write(
      json
        ? String(decoding: answer.json, as: UTF8.self) + "\n" : StatusReport.text(answer.status)
    )
  }
}
