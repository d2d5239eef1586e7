import FuseFS
import NIOPosix

/// Looks at everything a node depends on, before or while it runs.
package struct Doctor: Sendable {
  private let loaded: LoadedConfiguration
  private let environment: [String: String]

  package init(_ loaded: LoadedConfiguration, environment: [String: String]) {
    self.loaded = loaded
    self.environment = environment
  }

  /// All findings, in the order in which an operator would ask.
  package func examine() async throws -> [DoctorFinding] {
    let configuration = loaded.configuration
    let isRunning = await ControlClient.isListening(configuration.data.controlSocket)
    let environment = environment
    let local = try await NIOThreadPool.singleton.runIfActive {
      Self.mount(configuration, isRunning: isRunning)
        + DiskExamination(directory: configuration.data.directory).findings()
        + ClockExamination.findings()
        + CertificateExamination(configuration).findings()
        + ProgramExamination(environment: environment).findings(configuration.exec)
    }
    let ports = await PortExamination(configuration, isRunning: isRunning).findings()
    return [settings(isRunning: isRunning)] + local + ports
  }

  private func settings(isRunning: Bool) -> DoctorFinding {
    let place = loaded.file ?? "defaults and command line"
    let node = isRunning ? "; a node is running with it" : ""
    guard let first = loaded.warnings.first else {
      return DoctorFinding("configuration", .ok, place + node)
    }
    return DoctorFinding(
      "configuration",
      .warn,
      "\(place): \(loaded.warnings.count) warnings\(node)",
      remedy: "\(first.message); see `halite config check`"
    )
  }

  /// What the kernel offers, seen with what the configuration asks for.
  private static func mount(_ configuration: Configuration, isRunning: Bool) -> [DoctorFinding] {
    let capabilities = FuseCapabilities.probe()
    var findings = capabilities.findings.map { finding in
      let isUnused = finding.subject == "allow-other" && !configuration.fuse.allowOther
      let level: DoctorFinding.Level =
        switch finding.level {
        case .good: .ok
        case .limited: isUnused ? .ok : .warn
        case .broken: .fail
        }
      return DoctorFinding(finding.subject, level, finding.value, remedy: finding.hint)
    }
    if configuration.fuse.passthrough == .off, capabilities.canPassThrough {
      findings.append(
        DoctorFinding(
          "fuse.passthrough",
          .warn,
          "turned off, though it would work",
          remedy: "remove \"fuse.passthrough\" from the configuration, for faster reads and writes"
        )
      )
    }
    findings.append(
      MountPointExamination(directory: configuration.fuse.directory, isRunning: isRunning).finding()
    )
    return findings
  }
}
