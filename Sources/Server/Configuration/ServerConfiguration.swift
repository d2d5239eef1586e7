/// How a server runs. Each value comes from a flag, else from the environment, else from an env file, else it
/// is the default; `ServerSettings` lists them.
package struct ServerConfiguration: Sendable {
  /// Who takes writes: this server, another one, or whoever the file `.primary` beside the database says.
  package enum HAMode: String, Sendable, CaseIterable {
    case master, replica, auto
  }

  /// What a server that is not the master does with a write: sends the client to the master, or makes it.
  package enum WriteGuard: String, Sendable, CaseIterable {
    case redirect, off
  }

  package enum LogFormat: String, Sendable, CaseIterable {
    case console, json
  }

  package var listen: ListenAddress
  /// Path of the database; beside it `.primary` is looked for.
  package var database: String
  /// At least `TokenHasher.minimumSecret` bytes, the same on all servers.
  package var secret: String
  /// A UUID in lower case.
  package var instanceID: String
  package var haMode: HAMode
  /// Where clients and the other servers reach this one, with scheme and host; its row in the registry.
  package var publicURL: String
  /// Where the master is, if the registry should not say so.
  package var masterURL: String?
  package var writeGuard: WriteGuard
  package var corsOrigins: [String]
  package var logLevel: String
  package var logFormat: LogFormat
  package var heartbeatSeconds: Double
  package var limits: RateLimits
  /// Whose `X-Forwarded-For` is believed: addresses of the balancers.
  package var trustedProxies: [CIDR]
}

/// `[HOST]:PORT`; no host stands for all addresses.
package struct ListenAddress: Sendable, Equatable {
  package var host: String
  package var port: Int

  init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// - Returns: nil for what is not an address.
  package init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    guard let port = Int(text[text.index(after: colon)...]), (0...65535).contains(port) else {
      return nil
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
      return nil
    }
    self.host = host.isEmpty ? "0.0.0.0" : host
    self.port = port
  }
}
