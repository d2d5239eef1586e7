import ArgumentParser
import Foundation
import Logging
import Server

struct AdminCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "admin",
    abstract: "Make tenants and clusters in the database.",
    subcommands: [TenantCommand.self, ClusterCommand.self, NodeTokenCommand.self, ListCommand.self]
  )
}

/// Opens the database and runs one thing on it; what it prints is for people and for `cut`.
private func administer(
  _ options: SettingsOptions,
  _ body: (Administration, ServerSettings) async throws -> Void
) async {
  do {
    let settings = try options.settings()
    let administration = try Administration(
      database: settings.database,
      logger: Logger(label: "nebulagc-server") { _ in SwiftLogNoOpLogHandler() }
    )
    try await body(administration, settings)
  } catch {
    fail(error)
  }
}

struct TenantCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tenant",
    abstract: "Make a tenant."
  )

  @Argument(help: "Its name.") var name: String
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let name = name
    await administer(options) { administration, _ in
      print("tenant_id=\(try await administration.createTenant(name))")
    }
  }
}

struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster",
    abstract: "Make a cluster and its first administrator node; shows their tokens, once."
  )

  @Argument(help: "Its name.") var name: String
  @Option(help: "Name or id of the tenant.") var tenant: String
  @Option(help: "Name of the first node.") var node = "admin"
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let (name, tenant, node) = (name, tenant, node)
    await administer(options) { administration, settings in
      let made = try await administration.createCluster(
        name,
        tenant: tenant,
        node: node,
        hasher: try settings.hasher()
      )
      print("cluster_id=\(made.clusterID)")
      print("cluster_token=\(made.clusterToken)")
      print("node_id=\(made.nodeID)")
      print("node_token=\(made.nodeToken)")
    }
  }
}

struct NodeTokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "node-token",
    abstract: "Give a node whose token was lost a new one; shows it, once."
  )

  @Argument(help: "Id of the node.") var node: String
  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    let node = node
    await administer(options) { administration, settings in
      let token = try await administration.replaceNodeToken(node, hasher: try settings.hasher())
      print("node_token=\(token)")
    }
  }
}

struct ListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Show tenants and clusters."
  )

  @OptionGroup var options: SettingsOptions

  mutating func run() async throws {
    await administer(options) { administration, _ in
      for entry in try await administration.list() {
        let cluster = entry.clusterID.map {
          "  \($0)  \(entry.cluster ?? "")  nodes=\(entry.nodes)"
        }
        print("\(entry.tenantID)  \(entry.tenant)\(cluster ?? "  (no cluster)")")
      }
    }
  }
}
