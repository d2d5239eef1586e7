/// The status as a page for a person: one document, no scripts, nothing loaded from elsewhere.
enum StatusPage {
  /// Rows of a table; the rest is a number.
  private static let maximumRows = 500

  static func html(_ status: NodeStatus, _ readiness: Readiness) -> String {
    let node = status.node
    var reason = "ready"
    if case .notReady(let text) = readiness { reason = "not ready: \(text)" }
    let facts: [[String]] = [
      ["Role", node.role.rawValue],
      ["State", reason],
      ["Primary", status.primary?.name ?? "none known"],
      ["Cluster", status.cluster],
      ["Term", "\(node.term)"],
      ["Log", "committed \(node.commitIndex), applied \(node.appliedIndex)"],
      ["Lag", node.lagMilliseconds.map { "\($0) ms" } ?? "unknown"],
      ["Version", node.version],
    ]
    let databases = status.databases.map {
      [$0.name, $0.txid, $0.checksum, "\($0.pages)", "\($0.pageSize)", $0.journalMode]
    }
    let peers = status.peers.map {
      [
        $0.name, $0.role.rawValue, $0.connected ? "connected" : "not connected",
        $0.lagMilliseconds.map { "\($0) ms" } ?? "", "\($0.matchIndex)",
      ]
    }
    return """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8">
      <meta name="viewport" content="width=device-width">
      <meta http-equiv="refresh" content="5">
      <title>\(escaped(node.name)): Halite</title>
      <style>
      body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}
      table{border-collapse:collapse;margin:0 0 2em}
      th,td{text-align:left;padding:.2em 1.2em .2em 0;border-bottom:1px solid #8884}
      td{font-variant-numeric:tabular-nums}
      :root{color-scheme:light dark}
      </style></head><body>
      <h1>\(escaped(node.name))</h1>
      \(table([], facts))
      <h2>Databases</h2>
      \(table(["Name", "Transaction", "Checksum", "Pages", "Page size", "Journal"], databases))
      <h2>Peers</h2>
      \(table(["Name", "Role", "Connection", "Lag", "Has entry"], peers))
      \(list("Problems", status.problems))
      \(list("Waiting", status.waiting))\(list("Set aside", status.quarantine))
      <p><a href="/status">status</a> <a href="/metrics">metrics</a> <a href="/ready">ready</a></p>
      </body></html>

      """
  }

  private static func table(_ head: [String], _ rows: [[String]]) -> String {
    guard !rows.isEmpty else { return "<p>none</p>" }
    var html = "<table>"
    if !head.isEmpty {
      html += "<tr>" + head.map { "<th>\(escaped($0))</th>" }.joined() + "</tr>\n"
    }
    for row in rows.prefix(maximumRows) {
      html += "<tr>" + row.map { "<td>\(escaped($0))</td>" }.joined() + "</tr>\n"
    }
    html += "</table>"
    if rows.count > maximumRows { html += "<p>and \(rows.count - maximumRows) more</p>" }
    return html
  }

  private static func list(_ title: String, _ items: [String]) -> String {
    guard !items.isEmpty else { return "" }
    return "<h2>\(escaped(title))</h2>\n" + table([], items.map { [$0] }) + "\n"
  }

  private static func escaped(_ text: String) -> String {
    var output = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": output += "&amp;"
      case "<": output += "&lt;"
      case ">": output += "&gt;"
      case "\"": output += "&quot;"
      case "'": output += "&#39;"
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output
  }
}
