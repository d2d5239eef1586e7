import Foundation

/// What can only be said about a configuration as a whole, or with a look at the disk.
struct ConfigurationChecks {
  let file: String
  let lines: [String: Int]

  /// `sockaddr_un` holds 108 bytes with the closing zero, and the socket is first made under a
  /// name one byte longer.
  private static let maximumSocketPath = 106

  func check(_ configuration: Configuration) -> [ConfigurationProblem] {
    let directories = directories(configuration)
    // A data directory in the wrong place takes the socket with it; that is one mistake.
    return (directories.isEmpty ? sockets(configuration) : directories)
      + certificates(configuration)
  }

  /// A node whose files lay in its own mount would wait for itself.
  private func directories(_ configuration: Configuration) -> [ConfigurationProblem] {
    let mount = configuration.fuse.directory
    let data = configuration.data.directory
    if mount == "/" {
      return [error("fuse.dir", "\"fuse.dir\" is the root directory; give the mount its own")]
    }
    if mount == data {
      return [
        error(
          "fuse.dir",
          "\"fuse.dir\" and \"data.dir\" are the same directory (\(mount)); "
            + "the application uses the first, the node keeps its files in the second"
        )
      ]
    }
    let realMount = Paths.resolved(mount)
    let realData = Paths.resolved(data)
    if Paths.isWithin(realData, realMount) {
      return [
        error(
          "data.dir",
          "\"data.dir\" (\(data)) lies inside \"fuse.dir\" (\(mount)); "
            + "move it out: the node cannot keep its files in its own mount"
        )
      ]
    }
    if Paths.isWithin(realMount, realData) {
      return [
        error(
          "fuse.dir",
          "\"fuse.dir\" (\(mount)) lies inside \"data.dir\" (\(data)); "
            + "move it out"
        )
      ]
    }
    return []
  }

  private func sockets(_ configuration: Configuration) -> [ConfigurationProblem] {
    var problems: [ConfigurationProblem] = []
    let path = configuration.data.controlSocket
    if path.utf8.count > Self.maximumSocketPath {
      problems.append(
        error(
          "data.control-socket",
          "the control socket's path is \(path.utf8.count) bytes long, and the system allows "
            + "\(Self.maximumSocketPath); give a shorter one in \"data.control-socket\""
        )
      )
    }
    if Paths.isWithin(Paths.resolved(path), Paths.resolved(configuration.fuse.directory)) {
      problems.append(
        error("data.control-socket", "\"data.control-socket\" lies inside \"fuse.dir\"")
      )
    }
    let replication = configuration.replication.address
    if configuration.lease.kind != .single, let http = configuration.http.address,
      http.port != 0, http.port == replication.port,
      http.host == replication.host || http.host.isEmpty || replication.host.isEmpty
    {
      problems.append(
        error(
          "http.addr",
          "\"http.addr\" and \"replication.addr\" both use port \(http.port); "
            + "give each its own"
        )
      )
    }
    return problems
  }

  private func certificates(_ configuration: Configuration) -> [ConfigurationProblem] {
    guard
      case .certificates(let ca, let certificate, let key)? = configuration.replication.tls,
      configuration.lease.kind != .single
    else { return [] }
    return [("ca", ca), ("cert", certificate), ("key", key)].compactMap { name, path in
      guard !FileManager.default.isReadableFile(atPath: path) else { return nil }
      let exists = FileManager.default.fileExists(atPath: path)
      return error(
        "replication.tls.\(name)",
        "\"replication.tls.\(name)\": \(path) "
          + (exists
            ? "may not be read by this user"
            : "does not exist; make it with `halite cert init` and `halite cert issue`")
      )
    }
  }

  private func error(_ key: String, _ message: String) -> ConfigurationProblem {
    ConfigurationProblem(severity: .error, file: file, line: lines[key], message: message)
  }
}
