import ArgumentParser
import Node

struct PromoteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "promote",
    abstract: "Make this node the primary.",
    discussion: """
      The primary lets its writers finish and hands over; writes wait meanwhile. It needs \
      lease.type: quorum, a majority of voters, and that this node is a candidate.
      """
  )

  @OptionGroup var options: ConfigurationOptions

  func run() async throws { Terminal.write(try await options.client().promote() + "\n") }
}

struct DemoteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demote",
    abstract: "Let another node be the primary instead of this one."
  )

  @OptionGroup var options: ConfigurationOptions

  @Option(
    name: .long,
    help: "The node that is to be the primary; any that has everything if absent."
  )
  var to: String?

  func run() async throws { Terminal.write(try await options.client().demote(to: to) + "\n") }
}
