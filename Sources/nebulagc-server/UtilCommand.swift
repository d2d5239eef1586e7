import ArgumentParser
import Foundation
import Logging
import Server

/// The commands that look after a database. They exit with 1 when they cannot do what they were asked to, or find
/// something wrong, and with 64 when they do not understand what was asked.
struct UtilCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "util",
    abstract: "Look after the database: leftovers, damage, size, tokens.",
    subcommands: [
      PruneReplicasCommand.self, VerifyBundlesCommand.self, CompactCommand.self,
      VerifyTokenCommand.self,
    ]
  )
}

private struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false

  /// Prints a value as JSON, or else as lines for people.
  func print(_ value: some Encodable, _ lines: @autoclosure () -> [String]) throws {
    guard json else {
      for line in lines() { Swift.print(line) }
      return
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    Swift.print(String(decoding: try encoder.encode(value), as: UTF8.self))
  }
}

/// Opens a database that is there and runs one thing on it.
private func maintain(
  _ options: SettingsOptions,
  _ body: (Administration, ServerSettings) async throws -> Void
) async throws {
  do {
    let settings = try options.settings()
    let administration = try Administration(
      database: settings.database,
      makesTables: false,
      logger: Logger(label: "nebulagc-server") { _ in SwiftLogNoOpLogHandler() }
    )
    try await body(administration, settings)
  } catch let code as ExitCode {
    throw code
  } catch {
    fail(error)
  }
}

struct PruneReplicasCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prune-replicas",
    abstract: "Remove servers that were not heard of for long from the registry."
  )

  @Option(help: "Seconds since a server was heard of last.") var olderThan = 300.0
  @Flag(help: "Only say which.") var dryRun = false
  @OptionGroup fileprivate var output: OutputOptions
  @OptionGroup var options: SettingsOptions

  func validate() throws {
    guard olderThan >= 0, olderThan.isFinite else {
      throw ValidationError("--older-than must not be negative")
    }
  }

  mutating func run() async throws {
    let (olderThan, dryRun, output) = (olderThan, dryRun, output)
    try await maintain(options) { administration, _ in
      let found = try await administration.pruneReplicas(olderThan: olderThan, dryRun: dryRun)
      try output.print(
        found,
        found.map { "\($0.id)  \($0.address)  \($0.role)  last_seen_at=\($0.last_seen_at)" }
          + ["\(dryRun ? "would_remove" : "removed")=\(found.count)"]
      )
    }
  }
}

struct VerifyBundlesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify-bundles",
    abstract: "Check all configuration bundles that are stored."
  )

  @Option(help: "Id of a cluster, for its bundles alone.") var clusterId: String?
  @OptionGroup fileprivate var output: OutputOptions
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let (cluster, output) = (clusterId, output)
    try await maintain(options) { administration, _ in
      let bundles = try await administration.verifyBundles(cluster: cluster)
      let bad = bundles.filter { $0.problem != nil }.count
      try output.print(
        bundles,
        bundles.map { bundle in
          "\(bundle.cluster_id)  v\(bundle.version)  bytes=\(bundle.bytes)  \(bundle.problem ?? "ok")"
        } + ["bundles=\(bundles.count) bad=\(bad)"]
      )
      if bad > 0 { throw ExitCode.failure }
    }
  }
}

struct CompactCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compact-db",
    abstract: "Give unused room in the database back; nobody can write meanwhile."
  )

  @Flag(help: "Count anew what the query planner goes by, too.") var analyze = false
  @OptionGroup fileprivate var output: OutputOptions
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let (analyze, output) = (analyze, output)
    try await maintain(options) { administration, _ in
      let done = try await administration.compact(analyzes: analyze)
      try output.print(
        done,
        ["bytes_before=\(done.bytes_before)", "bytes_after=\(done.bytes_after)"]
      )
    }
  }
}

struct VerifyTokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify-token",
    abstract: "Say which node or cluster a token lets in; reads it from standard input."
  )

  @Option(help: "The token. Others on this machine can see arguments; standard input is safer.")
  var token: String?
  @Option(help: "Id of the node that it should be for.") var nodeId: String?
  @Option(help: "Id of the cluster that it should be for.") var clusterId: String?
  @OptionGroup fileprivate var output: OutputOptions
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let (given, nodeID, clusterID, output) = (token, nodeId, clusterId, output)
    try await maintain(options) { administration, settings in
      let token = (given ?? readLine() ?? "").trimmingCharacters(in: .whitespaces)
      let hasher = try settings.hasher()
      guard let owner = try await administration.owner(ofToken: token, hasher: hasher) else {
        throw Refused(description: "the token lets nobody in, with this secret and this database")
      }
      try output.print(
        owner,
        [
          "\(owner.kind)=\(owner.id)", "name=\(owner.name)", "cluster_id=\(owner.cluster_id)",
          "tenant_id=\(owner.tenant_id)", "is_admin=\(owner.is_admin)",
        ]
      )
      if let nodeID, owner.kind != "node" || owner.id != nodeID {
        throw Refused(description: "the token is not that of the node \(nodeID)")
      }
      if let clusterID, owner.cluster_id != clusterID {
        throw Refused(description: "the token is not of the cluster \(clusterID)")
      }
    }
  }

  private struct Refused: Error, CustomStringConvertible { let description: String }
}
