extension ConfigurationParser {
  /// The lease types of the design that this version cannot do yet.
  private static let laterLeaseTypes = ["consul", "etcd", "kubernetes"]

  private static let leaseKeys = [
    "type", "hostname", "primary", "advertise-url", "candidate", "priority", "ttl", "quorum",
    "consul", "etcd", "kubernetes",
  ]

  private static let ignoredLeaseKeys = [
    "promote": "with a static lease the primary is fixed",
    "reconnect-delay": "a replica reconnects after a short, growing, random delay",
    "demote-delay": "with a static lease the primary is fixed",
    "databases": "every database is replicated",
  ]

  /// The port of the node-to-node connection where none is given.
  static let defaultReplicationPort = 20_203

  /// Reads `replication` and `lease`, which make sense only together.
  mutating func parseCluster(
    _ root: YAMLSection
  ) -> (ReplicationConfiguration, LeaseConfiguration) {
    let section = reader.section(
      root,
      "replication",
      keys: ["addr", "advertise", "sync", "max-lag", "tls"]
    )
    note(section, "addr")
    note(section, "tls")
    let address =
      reader.address(section, "addr")
      ?? SocketAddressText(host: "", port: Self.defaultReplicationPort)
    let lease = reader.section(
      root,
      "lease",
      keys: Self.leaseKeys,
      ignored: Self.ignoredLeaseKeys
    )
    let hostname = parseHostname(lease)
    let advertise =
      reader.address(section, "advertise", needsHost: true)
      ?? SocketAddressText(host: hostname, port: address.port)
    let kind = parseLeaseKind(lease, hostname: hostname, advertise: advertise)
    let tls = parseTLS(section)
    if kind == .single, root.has("replication") {
      reader.warning(
        root.line(of: "replication"),
        "\"replication\" has no effect without \"lease\": this node stands alone; for a cluster "
          + "add lease: {type: static, primary: \"HOST:\(Self.defaultReplicationPort)\"}"
      )
    } else if kind != .single, tls == nil, !section.has("tls") {
      reader.error(
        section.line ?? lease.line,
        "\"replication.tls\" is missing: nodes speak mutual TLS; make certificates with `halite "
          + "cert init` and `halite cert issue`, then add "
          + "tls: {ca: ca.pem, cert: \(hostname).pem, key: \(hostname)-key.pem}"
      )
    }
    let replication = ReplicationConfiguration(
      address: address,
      advertise: advertise,
      sync: parseSync(section, kind),
      maxLag: reader.duration(section, "max-lag", atLeast: .milliseconds(1)) ?? .seconds(10),
      tls: tls
    )
    checkInsecure(replication, kind: kind, line: section.line(of: "tls"))
    return (replication, LeaseConfiguration(hostname: hostname, kind: kind))
  }

  private mutating func parseSync(
    _ section: YAMLSection,
    _ kind: LeaseConfiguration.Kind
  ) -> SyncMode {
    let sync = reader.choice(section, "sync", SyncMode.self)
    if case .quorum(let quorum) = kind {
      return sync ?? (quorum.voters.count >= Self.safeVoters ? .quorum : .async)
    }
    if sync == .quorum {
      reader.error(
        section.line(of: "sync"),
        "\"replication.sync: quorum\" waits for voters; it needs \"lease.type: quorum\""
      )
    }
    return sync ?? .async
  }

  /// Voters from which on a majority survives the loss of one.
  private static let safeVoters = 3

  private mutating func parseHostname(_ lease: YAMLSection) -> String {
    let name = reader.string(lease, "hostname") ?? environment["HOSTNAME"] ?? ""
    if name.isEmpty, lease.has("hostname") || lease.has("type") {
      reader.error(
        lease.line(of: "hostname"),
        "\"lease.hostname\" is empty; give this node a name of its own"
      )
    }
    let isNameByte: (UInt8) -> Bool = { $0 > 0x20 && $0 != 0x7f && $0 != UInt8(ascii: "/") }
    if name.utf8.count > 253 || !name.utf8.allSatisfy(isNameByte) {
      reader.error(
        lease.line(of: "hostname"),
        "\"lease.hostname\" must be at most 253 characters without blanks or \"/\""
      )
    }
    return name.isEmpty ? "localhost" : name
  }

  private mutating func parseLeaseKind(
    _ lease: YAMLSection,
    hostname: String,
    advertise: SocketAddressText
  ) -> LeaseConfiguration.Kind {
    guard let type = reader.string(lease, "type") else {
      if let key = ["primary", "candidate", "advertise-url"].first(where: lease.has) {
        reader.error(
          lease.line(of: key),
          "\"lease.type\" is missing; add \"type: static\", or remove \"lease.\(key)\""
        )
      }
      return .single
    }
    if type == "quorum" {
      return parseQuorum(lease, hostname: hostname, advertise: advertise)
    }
    guard type == "static" else {
      let message =
        Self.laterLeaseTypes.contains(type)
        ? "\"lease.type: \(type)\" is not available in this version; use "
          + "\"type: quorum\" with \"quorum: {peers: {...}}\", or \"type: static\" with "
          + "\"primary: HOST:\(Self.defaultReplicationPort)\""
        : "\"lease.type\" must be quorum or static, not \"\(type)\""
      reader.error(lease.line(of: "type"), message)
      return .single
    }
    for key in ["priority", "ttl", "quorum", "consul", "etcd", "kubernetes"] where lease.has(key) {
      reader.warning(
        lease.line(of: key),
        "\"lease.\(key)\" has no effect with \"type: static\""
      )
    }
    return parseStatic(lease, advertise: advertise)
  }

  /// A fixed primary: `primary` of Halite, or `advertise-url` and `candidate` of LiteFS, where the
  /// URL is that of the primary and the one candidate is the primary.
  private mutating func parseStatic(
    _ lease: YAMLSection,
    advertise: SocketAddressText
  ) -> LeaseConfiguration.Kind {
    let candidate = reader.bool(lease, "candidate")
    if lease.has("primary") {
      let primary = reader.address(lease, "primary", needsHost: true) ?? advertise
      if lease.has("advertise-url") {
        reader.warning(
          lease.line(of: "advertise-url"),
          "\"lease.advertise-url\" has no effect beside \"lease.primary\""
        )
      }
      let isPrimary = primary == advertise
      if let candidate, candidate != isPrimary {
        reader.error(
          lease.line(of: "candidate"),
          "\"lease.candidate: \(candidate)\" contradicts \"lease.primary: \(primary)\" with this "
            + "node's \"replication.advertise: \(advertise)\"; remove \"candidate\" or mend the "
            + "address"
        )
      }
      return .fixed(primary: primary, isPrimary: isPrimary)
    }
    guard lease.has("advertise-url") else {
      reader.error(
        lease.line(of: "type"),
        "\"lease.primary\" is missing; give the address of the primary, as "
          + "primary: \"node1:\(Self.defaultReplicationPort)\""
      )
      return .single
    }
    guard let host = hostOfURL(lease, "advertise-url") else { return .single }
    let isPrimary = candidate ?? true
    let primary =
      isPrimary ? advertise : SocketAddressText(host: host, port: Self.defaultReplicationPort)
    reader.warning(
      lease.line(of: "advertise-url"),
      "\"lease.advertise-url\" is taken for its host alone: the primary is \(primary); write "
        + "\"lease.primary: \(primary)\" to be exact"
    )
    return .fixed(primary: primary, isPrimary: isPrimary)
  }

  private mutating func hostOfURL(_ section: YAMLSection, _ key: String) -> String? {
    guard let text = reader.string(section, key) else { return nil }
    var rest = Substring(text)
    for scheme in ["http://", "https://"] where rest.hasPrefix(scheme) {
      rest = rest.dropFirst(scheme.count)
    }
    let authority = String(rest.prefix { $0 != "/" })
    guard let address = SocketAddressText(authority, defaultPort: 80), !address.host.isEmpty else {
      reader.error(
        section.line(of: key),
        "\"\(section.name(of: key))\" must be a URL such as http://node1:20202, not \"\(text)\""
      )
      return nil
    }
    return address.host
  }

  private mutating func parseTLS(_ replication: YAMLSection) -> TransportSecurity? {
    let section = reader.section(replication, "tls", keys: ["ca", "cert", "key", "insecure"])
    for key in ["ca", "cert", "key"] { note(section, key) }
    if reader.bool(section, "insecure") == true {
      if let key = ["ca", "cert", "key"].first(where: section.has) {
        reader.error(
          section.line(of: key),
          "\"replication.tls.\(key)\" and \"insecure: true\" exclude each other; remove one"
        )
      }
      return .insecure
    }
    guard replication.has("tls") else { return nil }
    guard let ca = path(section, "ca"), let certificate = path(section, "cert"),
      let key = path(section, "key")
    else {
      let missing = ["ca", "cert", "key"].filter { !section.has($0) }
      if !missing.isEmpty {
        reader.error(
          section.line,
          "\"replication.tls\" needs ca, cert and key; missing: "
            + missing.joined(separator: ", ")
        )
      }
      return nil
    }
    return .certificates(ca: ca, certificate: certificate, key: key)
  }

  /// Plain text is for trying things out on one machine.
  private mutating func checkInsecure(
    _ replication: ReplicationConfiguration,
    kind: LeaseConfiguration.Kind,
    line: Int?
  ) {
    guard replication.tls == .insecure else { return }
    var addresses = [("replication.addr", replication.address)]
    switch kind {
    case .single: return
    case .fixed(let primary, _): addresses.append(("lease.primary", primary))
    case .quorum(let quorum):
      addresses += quorum.voters.sorted { $0.key < $1.key }.map {
        ("lease.quorum.peers.\($0.key)", $0.value)
      }
    }
    for (key, address) in addresses where !address.isLoopback {
      reader.error(
        line,
        "\"replication.tls.insecure: true\" is allowed on loopback only, and \"\(key)\" is "
          + "\(address); use 127.0.0.1:\(address.port) or certificates"
      )
    }
  }
}
