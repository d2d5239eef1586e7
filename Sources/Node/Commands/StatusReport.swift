/// `halite status` for people.
package enum StatusReport {
  package static func text(_ status: NodeStatus) -> String {
    let node = status.node
    var lines = [
      "\(node.name)  \(node.role.rawValue)  "
        + (node.ready ? "ready" : "not ready: \(node.reason ?? "unknown")"),
      "primary   \(status.primary?.name ?? "none known")",
      "cluster   \(status.cluster), term \(node.term)",
      "log       committed \(node.commitIndex), applied \(node.appliedIndex)"
        + (node.lagMilliseconds.map { ", lag \($0) ms" } ?? ""),
      "version   \(node.version), up \(duration(node.uptimeSeconds))",
    ]
    if let lease = status.lease { lines.append("lease     \(text(lease))") }
    if let scrub = status.scrub { lines.append("scrub     \(text(scrub))") }
    lines.append("")
    lines += table(
      ["DATABASE", "TXID", "CHECKSUM", "PAGES", "SIZE", "JOURNAL", ""],
      status.databases.map {
        [
          $0.name, $0.txid, $0.checksum, "\($0.pages)", "\($0.pageSize)", $0.journalMode,
          $0.problem ?? writers($0),
        ]
      },
      none: "no databases"
    )
    lines.append("")
    lines += table(
      ["PEER", "ROLE", "CONNECTED", "LAG", "ENTRY"],
      status.peers.map {
        [
          $0.name, $0.role.rawValue, $0.connected ? "yes" : "no",
          $0.lagMilliseconds.map { "\($0) ms" } ?? "-", "\($0.matchIndex)",
        ]
      },
      none: "no peers"
    )
    if !status.problems.isEmpty { lines += ["", "PROBLEMS"] + status.problems }
    if !status.waiting.isEmpty { lines += ["", "WAITING"] + status.waiting }
    if !status.quarantine.isEmpty { lines += ["", "SET ASIDE"] + status.quarantine }
    return lines.map { trimmed($0) + "\n" }.joined()
  }

  /// Who writes a database, and who waits for that.
  private static func writers(_ database: NodeStatus.Database) -> String {
    var parts: [String] = []
    if let writer = database.writer { parts.append("written by \(writer)") }
    if let waiting = database.writersWaiting {
      parts.append("waiting to write: \(waiting.joined(separator: ", "))")
    }
    return parts.joined(separator: "; ")
  }

  private static func text(_ lease: NodeStatus.Lease) -> String {
    var parts = [
      lease.isVoter ? "\(lease.votersConnected + 1) of \(lease.voters) voters" : "not a voter"
    ]
    if let remaining = lease.remainingMilliseconds { parts.append("holds for \(remaining) ms") }
    parts.append("elected \(lease.elections) times, handed over \(lease.handOvers)")
    return parts.joined(separator: ", ")
  }

  private static func text(_ scrub: NodeStatus.Scrub) -> String {
    var parts: [String] = []
    if let database = scrub.database {
      parts.append("page \(scrub.page) of \(scrub.pages) in \(database)")
    }
    if let last = scrub.lastPass {
      parts.append("last pass \(Timestamps.text(milliseconds: Int64(clamping: last)))")
    }
    parts.append("\(scrub.damagedPages) damaged pages found")
    return parts.joined(separator: ", ")
  }

  private static func table(_ head: [String], _ rows: [[String]], none: String) -> [String] {
    guard !rows.isEmpty else { return [none] }
    let all = [head] + rows
    let widths = head.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
        .joined(separator: "  ")
    }
  }

  private static func trimmed(_ line: String) -> Substring {
    var line = line[...]
    while line.last == " " { line.removeLast() }
    return line
  }

  private static func duration(_ seconds: Int64) -> String {
    if seconds < 120 { return "\(seconds) s" }
    if seconds < 7200 { return "\(seconds / 60) min" }
    if seconds < 172_800 { return "\(seconds / 3600) h" }
    return "\(seconds / 86_400) days"
  }
}
