extension ConfigurationParser {
  /// How long a primary that nobody hears is waited for, where the configuration does not say.
  private static let defaultTTL = Duration.seconds(2)
  /// Shorter ones would be used up by a pause of the scheduler.
  private static let leastTTL = Duration.milliseconds(100)
  /// Voters above this number only make commits slower.
  private static let mostVoters = 15

  /// `lease.type: quorum`: the voters, of which this node is one unless it only follows.
  mutating func parseQuorum(
    _ lease: YAMLSection,
    hostname: String,
    advertise: SocketAddressText
  ) -> LeaseConfiguration.Kind {
    for key in ["primary", "advertise-url", "consul", "etcd", "kubernetes"] where lease.has(key) {
      reader.warning(
        lease.line(of: key),
        "\"lease.\(key)\" has no effect with \"type: quorum\""
      )
    }
    let section = reader.section(lease, "quorum", keys: ["peers"])
    let voters = reader.addresses(section, "peers")
    if voters.isEmpty, !section.has("peers") {
      reader.error(
        section.line ?? lease.line(of: "type"),
        "\"lease.quorum.peers\" is missing; name the voters, as "
          + "peers: {\(hostname): \"\(advertise)\"}"
      )
    }
    if voters.count > Self.mostVoters {
      reader.error(
        section.line(of: "peers"),
        "\"lease.quorum.peers\" names \(voters.count) voters, at most \(Self.mostVoters) make sense; "
          + "let the others join as replicas, which need not be named"
      )
    }
    if let own = voters[hostname], own != advertise {
      reader.error(
        section.line(of: "peers"),
        "\"lease.quorum.peers.\(hostname)\" is \(own), but this node is reached at "
          + "\"replication.advertise: \(advertise)\"; they must be the same"
      )
    }
    let ttl = reader.duration(lease, "ttl", atLeast: Self.leastTTL) ?? Self.defaultTTL
    return .quorum(
      QuorumConfiguration(
        voters: voters,
        ttl: ttl,
        priority: reader.integer(lease, "priority") ?? 0,
        isCandidate: reader.bool(lease, "candidate") ?? true
      )
    )
  }

  /// What a node of a cluster with elections cannot do.
  mutating func checkQuorum(_ root: YAMLSection, passthrough: Passthrough) {
    guard passthrough == .all else { return }
    reader.error(
      root.line(of: "fuse"),
      "\"fuse.passthrough: all\" is for a primary that stays one; with \"lease.type: quorum\" use "
        + "\"databases\""
    )
  }
}

extension YAMLReader {
  /// A whole number.
  mutating func integer(_ section: YAMLSection, _ key: String) -> Int? {
    guard let text = string(section, key) else { return nil }
    guard let value = Int(text) else {
      error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be a whole number, not \"\(text)\""
      )
      return nil
    }
    return value
  }

  /// A mapping of names to addresses with a host.
  mutating func addresses(_ section: YAMLSection, _ key: String) -> [String: SocketAddressText] {
    guard let names = names(section, key) else { return [:] }
    let entries = self.section(section, key, keys: names)
    var found: [String: SocketAddressText] = [:]
    for name in names {
      if let address = address(entries, name, needsHost: true) { found[name] = address }
    }
    return found
  }
}
