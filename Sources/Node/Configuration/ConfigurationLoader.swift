import Foundation

/// What the command line and the surroundings say about where the configuration is.
package struct ConfigurationRequest: Sendable {
  /// `--config`: the one file to read.
  package var file: String?
  /// `--dir`: the mount. Without `--config` no file is looked for: the node stands alone.
  package var mount: String?
  /// `--data`: the data directory.
  package var data: String?
  /// What follows `--`; replaces `exec`.
  package var command: [String]
  package var expandsEnvironment: Bool
  package var environment: [String: String]
  package var workingDirectory: String

  package init(
    file: String? = nil,
    mount: String? = nil,
    data: String? = nil,
    command: [String] = [],
    expandsEnvironment: Bool = true,
    environment: [String: String] = ProcessInfo.processInfo.environment,
    workingDirectory: String = FileManager.default.currentDirectoryPath
  ) {
    self.file = file
    self.mount = mount
    self.data = data
    self.command = command
    self.expandsEnvironment = expandsEnvironment
    self.environment = environment
    self.workingDirectory = workingDirectory
  }
}

/// A configuration that may be used, and what its author should know about it.
package struct LoadedConfiguration: Sendable {
  package let configuration: Configuration
  /// The file it came from; nil for `--dir` alone.
  package let file: String?
  package let warnings: [ConfigurationProblem]
}

/// Finds, reads and checks the configuration.
package enum ConfigurationLoader {
  package static let fileName = "halite.yml"

  /// Where `halite.yml` is looked for, in order.
  package static func searchPath(_ request: ConfigurationRequest) -> [String] {
    let home = request.environment["HOME"]
    return [request.workingDirectory, home, "/etc"].compactMap { $0 }.map { directory in
      Paths.absolute(fileName, base: directory, home: nil)
    }
  }

  package static func load(
    _ request: ConfigurationRequest
  ) throws(ConfigurationError) -> LoadedConfiguration {
    let file = try findFile(request)
    let text = try file.map(read) ?? ""
    var environment = request.environment
    if (environment["HOSTNAME"] ?? "").isEmpty {
      environment["HOSTNAME"] = ProcessInfo.processInfo.hostName
    }
    var problems: [ConfigurationProblem] = []
    var expanded = text
    if request.expandsEnvironment {
      var expansion = EnvironmentExpansion(environment: environment, file: file ?? "command line")
      expanded = expansion.expand(text)
      problems = expansion.problems
    }
    var parser = ConfigurationParser(
      file: file ?? "command line",
      baseDirectory: file.map(Paths.parent) ?? request.workingDirectory,
      environment: environment,
      overrides: overrides(request, hasFile: file != nil)
    )
    let configuration = parser.parse(expanded)
    problems += parser.reader.problems
    problems += ConfigurationChecks(
      file: file ?? "command line",
      lines: parser.lines
    ).check(configuration)
    problems.sort { ($0.line ?? 0) < ($1.line ?? 0) }
    guard problems.allSatisfy({ $0.severity == .warning }) else {
      throw ConfigurationError(problems: problems)
    }
    return LoadedConfiguration(configuration: configuration, file: file, warnings: problems)
  }

  private static func overrides(
    _ request: ConfigurationRequest,
    hasFile: Bool
  ) -> ConfigurationParser.Overrides {
    let absolute: (String) -> String = {
      Paths.absolute(
        $0,
        base: request.workingDirectory,
        home: request.environment["HOME"]
      )
    }
    let mount = request.mount.map(absolute)
    // Beside the mount, since it must not be inside it.
    let besideMount = hasFile ? nil : mount.map { $0 + ".halite" }
    return ConfigurationParser.Overrides(
      mount: mount,
      data: request.data.map(absolute) ?? besideMount,
      command: request.command
    )
  }

  private static func findFile(
    _ request: ConfigurationRequest
  ) throws(ConfigurationError) -> String? {
    if let file = request.file {
      return Paths.absolute(
        file,
        base: request.workingDirectory,
        home: request.environment["HOME"]
      )
    }
    if request.mount != nil { return nil }
    let places = searchPath(request)
    if let found = places.first(where: FileManager.default.fileExists(atPath:)) { return found }
    // Enough to find a running node by.
    if request.data != nil { return nil }
    throw failure(
      fileName,
      "not found in \(places.map(Paths.parent).joined(separator: ", ")); "
        + "give one with --config FILE, or run a single node with --dir DIRECTORY"
    )
  }

  /// Reads at most a little more than a configuration may have.
  private static func read(_ file: String) throws(ConfigurationError) -> String {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: file, isDirectory: &isDirectory) else {
      throw failure(file, "there is no such file; check --config")
    }
    guard !isDirectory.boolValue, let handle = FileHandle(forReadingAtPath: file) else {
      throw failure(file, "not a file that this user may read")
    }
    defer { try? handle.close() }
    do {
      let data = try handle.read(upToCount: ConfigurationParser.maximumBytes + 1) ?? Data()
      guard data.count <= ConfigurationParser.maximumBytes else {
        throw failure(
          file,
          "larger than \(ConfigurationParser.maximumBytes) bytes; is it the right file?"
        )
      }
      guard let text = String(validating: data, as: UTF8.self) else {
        throw failure(file, "not UTF-8 text; is it the right file?")
      }
      return text
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw failure(file, "cannot be read: \(error)")
    }
  }

  private static func failure(_ file: String, _ message: String) -> ConfigurationError {
    ConfigurationError(problems: [
      ConfigurationProblem(severity: .error, file: file, line: nil, message: message)
    ])
  }
}
