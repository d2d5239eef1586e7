import Foundation
import Replication

/// The cluster's certificates as this node has them.
struct CertificateExamination {
  private let security: TransportSecurity?
  private let isInCluster: Bool
  private let hostname: String
  private let advertisedHost: String
  private let now: Date

  /// Time to replace a certificate before it ends.
  private static let soon: TimeInterval = 30 * 86_400

  init(_ configuration: Configuration, now: Date = Date()) {
    security = configuration.replication.tls
    isInCluster = configuration.lease.kind != .single
    hostname = configuration.lease.hostname
    advertisedHost = configuration.replication.advertise.host
    self.now = now
  }

  func findings() -> [DoctorFinding] {
    guard isInCluster else {
      return [DoctorFinding("certificates", .ok, "not needed: this node stands alone")]
    }
    guard case .certificates(let caPath, let certificatePath, let keyPath)? = security else {
      return [
        DoctorFinding(
          "certificates",
          .warn,
          "none: the connection between nodes is plain text",
          remedy: "for more than one machine use `halite cert init` and `halite cert issue`"
        )
      ]
    }
    do {
      let caText = try text(caPath)
      let authority = try CertificateInspection(pem: caText, authorityPEM: caText)
      let node = try CertificateInspection(
        pem: try text(certificatePath),
        authorityPEM: caText,
        keyPEM: try text(keyPath)
      )
      return [
        validity("ca", caPath, authority), validity("certificate", certificatePath, node),
        chain(certificatePath, node), names(certificatePath, node), key(keyPath, node),
      ]
    } catch {
      return [
        DoctorFinding(
          "certificates",
          .fail,
          "\(error)",
          remedy: "make them anew with `halite cert init` and `halite cert issue`"
        )
      ]
    }
  }

  private func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }

  private func validity(
    _ subject: String,
    _ path: String,
    _ certificate: CertificateInspection
  ) -> DoctorFinding {
    let end = Timestamps.text(
      milliseconds: Int64(clamping: Int(certificate.notAfter.timeIntervalSince1970)) * 1000
    )
    let days = Int(certificate.notAfter.timeIntervalSince(now) / 86_400)
    if certificate.notBefore > now {
      return DoctorFinding(
        subject,
        .fail,
        "\(path) is not valid yet",
        remedy: "check the clock of this machine"
      )
    }
    if certificate.notAfter < now {
      return DoctorFinding(
        subject,
        .fail,
        "\(path) expired at \(end)",
        remedy: "issue a new one with `halite cert issue --renew`"
      )
    }
    let isEnding = certificate.notAfter.timeIntervalSince(now) < Self.soon
    return DoctorFinding(
      subject,
      isEnding ? .warn : .ok,
      "valid for \(days) days, until \(end)",
      remedy: isEnding ? "issue a new one with `halite cert issue --renew`" : nil
    )
  }

  private func chain(_ path: String, _ node: CertificateInspection) -> DoctorFinding {
    node.isIssuedByAuthority == true
      ? DoctorFinding("certificate chain", .ok, "issued by the ca")
      : DoctorFinding(
        "certificate chain",
        .fail,
        "\(path) was not issued by the ca",
        remedy: "issue it with the ca that all nodes have in \"replication.tls.ca\""
      )
  }

  private func names(_ path: String, _ node: CertificateInspection) -> DoctorFinding {
    let missing = [hostname, advertisedHost].filter { !node.identity.covers(host: $0) }
    guard let first = missing.first else {
      return DoctorFinding("certificate name", .ok, hostname)
    }
    return DoctorFinding(
      "certificate name",
      .fail,
      "\(path) does not name \(first)",
      remedy: "issue it with `halite cert issue --name \(hostname) --host \(advertisedHost)`"
    )
  }

  private func key(_ path: String, _ node: CertificateInspection) -> DoctorFinding {
    guard node.hasMatchingKey == true else {
      return DoctorFinding(
        "key",
        .fail,
        "\(path) does not belong to the certificate",
        remedy: "use the key that `halite cert issue` wrote beside the certificate"
      )
    }
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    let mode = (attributes?[.posixPermissions] as? NSNumber)?.intValue ?? 0
    guard mode & 0o077 == 0 else {
      return DoctorFinding(
        "key",
        .warn,
        "\(path) may be read by others",
        remedy: "chmod 600 \(path)"
      )
    }
    return DoctorFinding("key", .ok, "belongs to the certificate, and is this user's alone")
  }
}
