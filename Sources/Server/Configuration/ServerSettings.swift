import Foundation

/// Names and defaults of all settings, and how their text becomes a configuration.
///
/// The source of the names is the operators' guide and the server that came before this one; `NEBULAGC_MODE` and
/// `NEBULAGC_DISABLE_WRITE_GUARD` are that one's words and still understood.
package struct ServerSettings {
  /// What to look a name up in, first to last.
  private let sources: [[String: String]]

  /// - Parameters:
  ///   - flags: by the names of the environment; only those that were given.
  ///   - file: what an env file holds.
  package init(flags: [String: String], environment: [String: String], file: [String: String]) {
    sources = [flags, environment, file]
  }

  package static let names =
    [
      "NEBULAGC_LISTEN_ADDR", "NEBULAGC_DB_PATH", "NEBULAGC_HMAC_SECRET", "NEBULAGC_INSTANCE_ID",
      "NEBULAGC_HA_MODE", "NEBULAGC_PUBLIC_URL", "NEBULAGC_MASTER_URL", "NEBULAGC_WRITE_GUARD",
      "NEBULAGC_CORS_ORIGINS", "NEBULAGC_LOG_LEVEL", "NEBULAGC_LOG_FORMAT",
      "NEBULAGC_HEARTBEAT_SECONDS", "NEBULAGC_RATELIMIT", "NEBULAGC_TRUSTED_PROXIES",
      "NEBULAGC_MODE", "NEBULAGC_DISABLE_WRITE_GUARD",
    ] + RateLimits.names

  private static let levels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

  /// The database alone, which is all that some commands need.
  package var database: String { text("NEBULAGC_DB_PATH") ?? "./nebula.db" }

  /// - Throws: `ConfigurationError` with all that is wrong.
  package func configuration() throws(ConfigurationError) -> ServerConfiguration {
    var problems: [String] = []
    let mode = haMode(&problems)
    let configuration = ServerConfiguration(
      listen: listen(&problems),
      database: database,
      secret: secret(&problems),
      instanceID: instanceID(&problems),
      haMode: mode,
      publicURL: url("NEBULAGC_PUBLIC_URL", &problems) ?? defaultPublicURL(&problems),
      masterURL: url("NEBULAGC_MASTER_URL", &problems),
      writeGuard: writeGuard(mode, &problems),
      corsOrigins: list("NEBULAGC_CORS_ORIGINS"),
      logLevel: oneOf("NEBULAGC_LOG_LEVEL", Self.levels, "info", &problems),
      logFormat: choice("NEBULAGC_LOG_FORMAT", .console, &problems),
      heartbeatSeconds: heartbeat(&problems),
      limits: RateLimits(text, &problems),
      trustedProxies: proxies(&problems)
    )
    guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
    return configuration
  }

  /// For commands that make or check tokens and do not serve.
  package func hasher() throws(ConfigurationError) -> TokenHasher {
    var problems: [String] = []
    let secret = secret(&problems)
    guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
    return TokenHasher(secret: secret)
  }

  private func text(_ name: String) -> String? {
    sources.lazy.compactMap { $0[name] }.first { !$0.isEmpty }
  }

  private func list(_ name: String) -> [String] {
    (text(name) ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { !$0.isEmpty }
  }

  private func oneOf(
    _ name: String,
    _ words: [String],
    _ otherwise: String,
    _ problems: inout [String]
  ) -> String {
    guard let given = text(name)?.lowercased() else { return otherwise }
    if words.contains(given) { return given }
    problems.append("\(name) is \"\(given)\"; it must be one of \(words.joined(separator: ", "))")
    return otherwise
  }

  private func choice<Value: RawRepresentable<String> & CaseIterable>(
    _ name: String,
    _ otherwise: Value,
    _ problems: inout [String]
  ) -> Value {
    let words = Value.allCases.map(\.rawValue)
    return Value(rawValue: oneOf(name, words, otherwise.rawValue, &problems)) ?? otherwise
  }

  private func listen(_ problems: inout [String]) -> ListenAddress {
    let given = text("NEBULAGC_LISTEN_ADDR") ?? ":8080"
    if let address = ListenAddress(given) { return address }
    problems.append(
      "NEBULAGC_LISTEN_ADDR is \"\(given)\"; it must be [HOST]:PORT, as :8080 or 127.0.0.1:8080"
    )
    return ListenAddress(host: "127.0.0.1", port: 0)
  }

  private func secret(_ problems: inout [String]) -> String {
    let secret = text("NEBULAGC_HMAC_SECRET") ?? ""
    // The value itself must not get into a log.
    if secret.utf8.count < TokenHasher.minimumSecret {
      problems.append(
        "NEBULAGC_HMAC_SECRET has \(secret.utf8.count) bytes; it must have at least "
          + "\(TokenHasher.minimumSecret) and be the same on all servers "
          + "(make one with: openssl rand -hex 32)"
      )
    }
    return secret
  }

  private func instanceID(_ problems: inout [String]) -> String {
    guard let given = text("NEBULAGC_INSTANCE_ID") else { return UUID().uuidString.lowercased() }
    if let id = UUID(uuidString: given) { return id.uuidString.lowercased() }
    problems.append("NEBULAGC_INSTANCE_ID is \"\(given)\"; it must be a UUID")
    return given
  }

  private func haMode(_ problems: inout [String]) -> ServerConfiguration.HAMode {
    let name = text("NEBULAGC_HA_MODE") == nil && text("NEBULAGC_MODE") != nil
    return choice(name ? "NEBULAGC_MODE" : "NEBULAGC_HA_MODE", .auto, &problems)
  }

  private func writeGuard(
    _ mode: ServerConfiguration.HAMode,
    _ problems: inout [String]
  ) -> ServerConfiguration.WriteGuard {
    if text("NEBULAGC_WRITE_GUARD") == nil, text("NEBULAGC_DISABLE_WRITE_GUARD") == "true" {
      return .off
    }
    // A server that is told to be a replica does not write; one that may be anything does what the
    // database lets it do.
    return choice("NEBULAGC_WRITE_GUARD", mode == .replica ? .redirect : .off, &problems)
  }

  private func url(_ name: String, _ problems: inout [String]) -> String? {
    guard let given = text(name) else { return nil }
    if let url = URL(string: given), ["http", "https"].contains(url.scheme ?? ""),
      !(url.host ?? "").isEmpty
    {
      return given.hasSuffix("/") ? String(given.dropLast()) : given
    }
    problems.append("\(name) is \"\(given)\"; it must be a URL with scheme and host")
    return nil
  }

  private func defaultPublicURL(_ problems: inout [String]) -> String {
    let address = ListenAddress(text("NEBULAGC_LISTEN_ADDR") ?? ":8080")
    let any = address.map { ["0.0.0.0", "::"].contains($0.host) } ?? true
    let host = any ? ProcessInfo.processInfo.hostName : (address?.host ?? "")
    return "http://\(host.contains(":") ? "[\(host)]" : host):\(address?.port ?? 8080)"
  }

  private func heartbeat(_ problems: inout [String]) -> Double {
    guard let given = text("NEBULAGC_HEARTBEAT_SECONDS") else { return 10 }
    // The registry forgets who was not heard of for 30 s.
    if let seconds = Double(given), (0.1...15).contains(seconds) { return seconds }
    problems.append("NEBULAGC_HEARTBEAT_SECONDS is \"\(given)\"; it must be from 0.1 to 15")
    return 10
  }

  private func proxies(_ problems: inout [String]) -> [CIDR] {
    list("NEBULAGC_TRUSTED_PROXIES").compactMap { given in
      if let network = CIDR(
        given.contains("/") ? given : given + (given.contains(":") ? "/128" : "/32")
      ) {
        return network
      }
      problems.append("NEBULAGC_TRUSTED_PROXIES has \"\(given)\", which is no address or network")
      return nil
    }
  }
}

/// All that is wrong with the settings, one sentence each.
package struct ConfigurationError: Error, CustomStringConvertible {
  package let problems: [String]

  package var description: String { problems.joined(separator: "\n") }
}
