/// Findings as text for people or JSON for machines.
package enum DoctorReport {
  private struct Document: Encodable {
    let healthy: Bool
    let findings: [DoctorFinding]
  }

  package static func isHealthy(_ findings: [DoctorFinding]) -> Bool {
    findings.allSatisfy { $0.level != .fail }
  }

  package static func json(_ findings: [DoctorFinding]) throws -> String {
    let document = Document(healthy: isHealthy(findings), findings: findings)
    return String(decoding: try StatusJSON.pretty(document), as: UTF8.self) + "\n"
  }

  package static func text(_ findings: [DoctorFinding]) -> String {
    let width = findings.map(\.subject.count).max() ?? 0
    return findings.map { finding in
      let level = finding.level.rawValue
      let name = finding.subject + String(repeating: " ", count: width - finding.subject.count)
      var line = level + String(repeating: " ", count: 6 - level.count) + name + "  "
      line += finding.value
      if let remedy = finding.remedy, finding.level != .ok {
        line += "\n" + String(repeating: " ", count: width + 8) + remedy
      }
      return line + "\n"
    }.joined()
  }
}
