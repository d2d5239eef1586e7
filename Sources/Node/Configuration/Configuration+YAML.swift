extension Configuration {
  /// The effective configuration as a file that `halite` reads back to the same.
  ///
  /// Keys and certificates are named by path, so there is no secret in it.
  package var yaml: String {
    var lines = [
      "fuse:",
      "  dir: \(quoted(fuse.directory))",
      "  allow-other: \(fuse.allowOther)",
      "  passthrough: \(fuse.passthrough.rawValue)",
    ]
    if let lowLatency = fuse.lowLatency { lines.append("  low-latency: \(lowLatency)") }
    lines += [
      "data:",
      "  dir: \(quoted(data.directory))",
      "  retention: \(Quantities.text(data.retention))",
      "  max-log-size: \(Quantities.text(bytes: data.maxLogSize))",
      "  compress: \(data.compress)",
      "  scrub-rate: \(data.scrubRate == 0 ? "off" : Quantities.text(bytes: data.scrubRate))",
      "  scrub-interval: \(Quantities.text(data.scrubInterval))",
      "  control-socket: \(quoted(data.controlSocket))",
    ]
    if !http.isDefault {
      lines += ["http:", "  addr: \(quoted(http.address?.description ?? ""))"]
    } else if let address = http.address {
      lines += ["# the default:", "# http:", "#   addr: \(quoted(address.description))"]
    }
    lines += clusterLines
    lines += [
      "\(writeForwarding ? "# the default: " : "")write-forwarding: \(writeForwarding)",
      "reads: \(reads.rawValue)",
    ]
    if let maxStaleness { lines.append("max-staleness: \(Quantities.text(maxStaleness))") }
    lines += execLines
    lines += [
      "exec-stop-timeout: \(Quantities.text(execStopTimeout))",
      "log:",
      "  format: \(log.format.rawValue)",
      "  level: \(log.level.rawValue)",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  private var clusterLines: [String] {
    if lease.kind == .single { return ["lease:", "  hostname: \(quoted(lease.hostname))"] }
    var lines = [
      "replication:",
      "  addr: \(quoted(replication.address.description))",
      "  advertise: \(quoted(replication.advertise.description))",
      "  sync: \(replication.sync.rawValue)",
      "  max-lag: \(Quantities.text(replication.maxLag))",
    ]
    switch replication.tls {
    case .certificates(let ca, let certificate, let key)?:
      lines += [
        "  tls:",
        "    ca: \(quoted(ca))",
        "    cert: \(quoted(certificate))",
        "    key: \(quoted(key))",
      ]
    case .insecure?:
      lines += ["  tls:", "    insecure: true"]
    case nil:
      break
    }
    lines += ["lease:", "  hostname: \(quoted(lease.hostname))"]
    switch lease.kind {
    case .single: break
    case .fixed(let primary, _):
      lines += ["  type: static", "  primary: \(quoted(primary.description))"]
    case .quorum(let quorum):
      lines += [
        "  type: quorum", "  candidate: \(quorum.isCandidate)", "  priority: \(quorum.priority)",
        "  ttl: \(Quantities.text(quorum.ttl))", "  quorum:", "    peers:",
      ]
      lines += quorum.voters.sorted { $0.key < $1.key }.map {
        "      \(quoted($0.key)): \(quoted($0.value.description))"
      }
    }
    return lines
  }

  private var execLines: [String] {
    guard !exec.isEmpty else { return [] }
    return ["exec:"]
      + exec.flatMap { command in
        [
          "  - cmd: \(quoted(command.arguments.map(shellQuoted).joined(separator: " ")))",
          "    if-candidate: \(command.onlyIfCandidate)",
        ]
      }
  }

  /// One word that `ShellWords` splits back to the same.
  private func shellQuoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
      default: "_-./=:,@%+".utf8.contains(byte)
      }
    }
    if plain, !word.isEmpty { return word }
    return "'"
      + word.split(separator: "'", omittingEmptySubsequences: false)
      .joined(separator: "'\\''") + "'"
  }

  /// A double-quoted YAML scalar; a dollar is doubled since the file's environment is expanded.
  private func quoted(_ text: String) -> String {
    var output = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "$": output += "$$"
      case "\n": output += "\\n"
      case "\t": output += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        let digits = String(scalar.value, radix: 16)
        output += "\\x" + String(repeating: "0", count: 2 - digits.count) + digits
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output + "\""
  }
}
