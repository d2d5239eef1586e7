import SwiftASN1
import X509

/// Who a certificate says its owner is.
package struct PeerIdentity: Hashable, Sendable {
  /// The common name and the DNS names.
  package var names: Set<String>
  package var addresses: Set<IPAddress>

  init(_ certificate: Certificate) {
    names = []
    addresses = []
    for attribute in certificate.subject.flatMap({ $0 })
    where attribute.type == .RDNAttributeType.commonName {
      if let name = String(attribute.value) { names.insert(name) }
    }
    guard let alternatives = try? certificate.extensions.subjectAlternativeNames else { return }
    for name in alternatives {
      switch name {
      case .dnsName(let name): names.insert(name)
      case .ipAddress(let octets):
        if let address = IPAddress(bytes: octets.bytes) { addresses.insert(address) }
      default: break
      }
    }
  }

  /// Whether the owner may be dialled as `host`: host names do not tell upper from lower case.
  package func covers(host: String) -> Bool {
    if let address = IPAddress(host) { return addresses.contains(address) }
    return names.contains { $0.lowercased() == host.lowercased() }
  }
}
