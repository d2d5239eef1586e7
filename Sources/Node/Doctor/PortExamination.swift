import NIOCore
import NIOPosix

/// Whether the node's ports are free, or its own, and whether the primary can be reached.
struct PortExamination {
  private let configuration: Configuration
  private let isRunning: Bool

  private static let connectTimeout = TimeAmount.seconds(3)

  init(_ configuration: Configuration, isRunning: Bool) {
    self.configuration = configuration
    self.isRunning = isRunning
  }

  func findings() async -> [DoctorFinding] {
    var findings: [DoctorFinding] = []
    if let address = configuration.http.address {
      findings.append(await listening("http.addr", address))
    }
    guard case .fixed(let primary, let isPrimary) = configuration.lease.kind else {
      return findings
    }
    // A replica only dials; it listens nowhere.
    findings.append(
      isPrimary
        ? await listening("replication.addr", configuration.replication.address)
        : await reaching(primary)
    )
    return findings
  }

  private func listening(_ key: String, _ address: SocketAddressText) async -> DoctorFinding {
    do {
      let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .bind(host: address.bindHost, port: address.port).get()
      try? await channel.close()
      guard isRunning else { return DoctorFinding(key, .ok, "\(address) is free") }
      return DoctorFinding(
        key,
        .warn,
        "\(address): the running node does not listen there",
        remedy: "restart it if the configuration has changed"
      )
    } catch {
      if isRunning { return DoctorFinding(key, .ok, "\(address): the running node listens") }
      return DoctorFinding(
        key,
        .fail,
        "\(address) cannot be used: \(error)",
        remedy: "stop what uses it (`ss -ltnp`), or give another \"\(key)\""
      )
    }
  }

  private func reaching(_ primary: SocketAddressText) async -> DoctorFinding {
    do {
      let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(Self.connectTimeout)
        .connect(host: primary.host, port: primary.port).get()
      try? await channel.close()
      return DoctorFinding("primary", .ok, "\(primary) accepts connections")
    } catch {
      return DoctorFinding(
        "primary",
        .warn,
        "\(primary) cannot be reached: \(error)",
        remedy: "start it, and let port \(primary.port) through any firewall between"
      )
    }
  }
}
