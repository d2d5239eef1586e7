import ArgumentParser
import Node

/// The options by which every command finds the node's configuration.
struct ConfigurationOptions: ParsableArguments {
  @Option(
    name: .long,
    help: "The configuration file. Default: halite.yml in ., ~ and /etc.",
    completion: .file(extensions: ["yml", "yaml"])
  )
  var config: String?

  @Option(
    name: .long,
    help: "The mount. Without --config: a single node, with no configuration file.",
    completion: .directory
  )
  var dir: String?

  @Option(
    name: .long,
    help: "The node's own files. Default: data.dir, or with --dir alone DIR.halite.",
    completion: .directory
  )
  var data: String?

  @Flag(name: .long, help: "Do not expand environment variables in the configuration file.")
  var noExpandEnv = false

  func request(command: [String] = []) -> ConfigurationRequest {
    ConfigurationRequest(
      file: config,
      mount: dir,
      data: data,
      command: command,
      expandsEnvironment: !noExpandEnv
    )
  }

  func load(command: [String] = []) throws(ConfigurationError) -> LoadedConfiguration {
    try ConfigurationLoader.load(request(command: command))
  }

  /// The way to the running node.
  func client() throws(ConfigurationError) -> ControlClient {
    ControlClient(try load().configuration)
  }
}
