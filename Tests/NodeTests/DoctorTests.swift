import Foundation
import Testing

@testable import Node

@Suite(.timeLimit(.minutes(5))) struct DoctorTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func cluster(_ name: String = "node1", host: String = "127.0.0.1") throws
    -> Configuration
  {
    try directory.write(
      "halite.yml",
      """
      fuse: {dir: mnt}
      data: {dir: data}
      http: {addr: "127.0.0.1:0"}
      replication:
        addr: "127.0.0.1:0"
        advertise: "\(host):20203"
        tls: {ca: ca.pem, cert: node1.pem, key: node1-key.pem}
      lease: {type: static, hostname: \(name), primary: "127.0.0.1:1"}
      """
    )
    return try ConfigurationLoader.load(
      ConfigurationRequest(
        file: "halite.yml",
        environment: [:],
        workingDirectory: directory.path
      )
    ).configuration
  }

  private func makeCertificates(
    now: Date = Date(),
    days: Int = 400,
    hosts: [String] = ["127.0.0.1"]
  ) throws {
    let files = CertificateFiles(directory: directory.path)
    #expect(
      try files.makeAuthority(days: days, now: now)
        == [directory.path + "/ca.pem", directory.path + "/ca-key.pem"]
    )
    #expect(
      try files.issue(name: "node1", hosts: hosts, days: days, replacing: false, now: now)
        == [directory.path + "/node1.pem", directory.path + "/node1-key.pem"]
    )
  }

  private func levels(_ findings: [DoctorFinding]) -> [String: DoctorFinding.Level] {
    Dictionary(findings.map { ($0.subject, $0.level) }) { first, _ in first }
  }

  @Test func aWholeExamination() async throws {
    let loaded = try ConfigurationLoader.load(
      ConfigurationRequest(
        mount: "mnt",
        command: ["sh"],
        environment: [:],
        workingDirectory: directory.path
      )
    )
    let findings = try await Doctor(loaded, environment: ["PATH": "/bin"]).examine()
    let levels = levels(findings)
    for subject in [
      "configuration", "/dev/fuse", "kernel", "passthrough", "fuse.dir", "data.dir", "file system",
      "disk space", "fsync", "time of day", "CLOCK_BOOTTIME", "clock synchronization",
      "certificates", "exec", "http.addr",
    ] {
      #expect(levels[subject] != nil, "\(subject)")
    }
    #expect(levels["data.dir"] == .ok && levels["exec"] == .ok && levels["CLOCK_BOOTTIME"] == .ok)
    for finding in findings where finding.level != .ok {
      #expect(finding.remedy != nil, "\(finding.subject)")
    }
    let json = try DoctorReport.json(findings)
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
    )
    #expect((object["findings"] as? [Any])?.count == findings.count)
    #expect(object["healthy"] as? Bool == DoctorReport.isHealthy(findings))
  }

  @Test func goodCertificates() throws {
    try makeCertificates()
    let findings = CertificateExamination(try cluster()).findings()
    #expect(findings.allSatisfy { $0.level == .ok }, "\(findings)")
    #expect(findings.map(\.subject).contains("certificate chain"))
    let attributes = try FileManager.default.attributesOfItem(
      atPath: directory.path + "/node1-key.pem"
    )
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  @Test func certificatesThatEnd() throws {
    try makeCertificates(days: 60)
    let configuration = try cluster()
    let soon = CertificateExamination(configuration, now: Date() + 45 * 86_400).findings()
    #expect(levels(soon)["certificate"] == .warn)
    let late = CertificateExamination(configuration, now: Date() + 61 * 86_400).findings()
    #expect(levels(late)["certificate"] == .fail && levels(late)["ca"] == .fail)
    let early = CertificateExamination(configuration, now: Date() - 86_400).findings()
    #expect(levels(early)["certificate"] == .fail)
  }

  @Test func certificatesOfSomebodyElse() throws {
    try makeCertificates()
    let other = try TemporaryDirectory()
    _ = try CertificateFiles(directory: other.path).makeAuthority(days: nil)
    try FileManager.default.removeItem(atPath: directory.path + "/ca.pem")
    try FileManager.default.copyItem(
      atPath: other.path + "/ca.pem",
      toPath: directory.path + "/ca.pem"
    )
    #expect(levels(CertificateExamination(try cluster()).findings())["certificate chain"] == .fail)
    let renamed = CertificateExamination(try cluster("node2")).findings()
    #expect(levels(renamed)["certificate name"] == .fail)
    try FileManager.default.removeItem(atPath: directory.path + "/node1-key.pem")
    try FileManager.default.copyItem(
      atPath: directory.path + "/ca-key.pem",
      toPath: directory.path + "/node1-key.pem"
    )
    #expect(levels(CertificateExamination(try cluster()).findings())["key"] == .fail)
    try directory.write("node1.pem", "rubbish")
    #expect(levels(CertificateExamination(try cluster()).findings())["certificates"] == .fail)
  }

  @Test func authoritiesAndCertificatesAreNotReplacedByAccident() throws {
    try makeCertificates()
    let files = CertificateFiles(directory: directory.path)
    let before = try Data(contentsOf: URL(fileURLWithPath: directory.path + "/node1.pem"))
    #expect(throws: ControlError.self) { try files.makeAuthority(days: nil) }
    #expect(throws: ControlError.self) {
      try files.issue(name: "node1", hosts: [], days: nil, replacing: false)
    }
    for name in ["ca", "", "../x", "a/b", String(repeating: "n", count: 65)] {
      #expect(throws: ControlError.self, "\(name)") {
        try files.issue(name: name, hosts: [], days: nil, replacing: true)
      }
    }
    #expect(throws: ControlError.self) {
      try files.issue(name: "node2", hosts: ["not a host"], days: nil, replacing: false)
    }
    _ = try files.issue(name: "node1", hosts: [], days: nil, replacing: true)
    let after = try Data(contentsOf: URL(fileURLWithPath: directory.path + "/node1.pem"))
    #expect(before != after)
    #expect(throws: ControlError.self) {
      try CertificateFiles(directory: directory.path + "/none")
        .issue(name: "a", hosts: [], days: nil, replacing: false)
    }
  }

  @Test func theMountPoint() throws {
    let mount = directory.path + "/mnt"
    let examine = { MountPointExamination(directory: $0, isRunning: false).finding() }
    #expect(examine(mount).level == .ok)
    try FileManager.default.createDirectory(atPath: mount, withIntermediateDirectories: true)
    #expect(examine(mount).level == .ok)
    try Data("x".utf8).write(to: URL(fileURLWithPath: mount + "/file"))
    #expect(examine(mount).level == .warn)
    #expect(examine(mount + "/file").level == .fail)
    #expect(examine("/proc").level == .warn)
  }

  @Test func theMountTable() throws {
    let entries = MountTable.parse(
      """
      22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
      23 22 0:5 / /with\\040blank rw master:2 shared:3 - tmpfs tmpfs rw
      24 22 0:6 / /srv rw - xfs /dev/sdb rw
      25 24 0:7 / /srv rw - fuse.halite halite rw
      broken line
      """
    )
    #expect(entries.map(\.path) == ["/", "/with blank", "/srv", "/srv"])
    #expect(MountTable.entry(of: "/with blank/x", in: entries)?.type == "tmpfs")
    #expect(MountTable.entry(of: "/srv/a", in: entries)?.type == "fuse.halite")
    #expect(MountTable.entry(of: "/srvx", in: entries)?.type == "ext4")
    #expect(DiskExamination.judge("fuse.halite").level == .warn)
    #expect(DiskExamination.judge("xfs").level == .ok)
  }

  @Test func aPortInUse() async throws {
    let configuration = try ConfigurationLoader.load(
      ConfigurationRequest(mount: "m", environment: [:], workingDirectory: directory.path)
    ).configuration
    let file = try directory.write("x.yml", "http: {addr: \"256.256.256.256:1\"}")
    let impossible = try ConfigurationLoader.load(
      ConfigurationRequest(file: file, environment: [:], workingDirectory: directory.path)
    ).configuration
    #expect(
      await PortExamination(impossible, isRunning: false).findings().map(\.level) == [.fail]
    )
    #expect(await PortExamination(configuration, isRunning: false).findings().count == 1)
  }

  @Test func theReportForPeople() {
    let text = DoctorReport.text([
      DoctorFinding("kernel", .ok, "6.18", remedy: "none"),
      DoctorFinding("data.dir mode", .warn, "open", remedy: "chmod go-w /data"),
    ])
    #expect(
      text == """
        ok    kernel         6.18
        warn  data.dir mode  open
                             chmod go-w /data

        """
    )
  }
}
