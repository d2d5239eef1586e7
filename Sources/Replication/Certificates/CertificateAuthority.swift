import Crypto
package import Foundation
import SwiftASN1
import X509

/// The cluster's own certificate authority.
///
/// Pure functions from names and times to PEM text; the caller writes the files (keys with mode 0600).
/// Keys are P-256, which every TLS library takes. A node's certificate names the node and its hosts
/// and is good for both sides of a connection, as every node may dial and be dialled
/// (RFC 5280; RFC 6125 for the names).
package struct CertificateAuthority: Sendable {
  /// PEM text of a certificate and its private key.
  package struct Issued: Sendable {
    package var certificate: String
    package var key: String
  }

  /// The longest common name (RFC 5280, appendix A.1).
  package static let maxNameLength = 64
  /// How long the authority is good for: it is replaced by hand, on every node.
  package static let defaultValidityDays = 3_650
  /// How long a node's certificate is good for.
  package static let defaultNodeValidityDays = 730
  /// Clocks of the nodes may differ: a new certificate is good from a little before its issue on.
  private static let clockSkew: TimeInterval = 300

  private let certificate: Certificate
  private let key: Certificate.PrivateKey

  /// A new authority, signed by itself.
  package init(
    named name: String,
    now: Date,
    validityDays: Int = Self.defaultValidityDays
  ) throws(ReplicationError) {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    do {
      let subject = try DistinguishedName { CommonName(name) }
      certificate = try Certificate(
        version: .v3,
        serialNumber: Certificate.SerialNumber(),
        publicKey: key.publicKey,
        notValidBefore: now.addingTimeInterval(-Self.clockSkew),
        notValidAfter: now.addingTimeInterval(Self.days(validityDays)),
        issuer: subject,
        subject: subject,
        extensions: try Certificate.Extensions {
          Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
          Critical(KeyUsage(keyCertSign: true, cRLSign: true))
          SubjectKeyIdentifier(hash: key.publicKey)
        },
        issuerPrivateKey: key
      )
    } catch {
      throw ReplicationError(
        .certificate,
        "The certificate authority cannot be made.",
        cause: error
      )
    }
    self.key = key
  }

  /// The authority from its files.
  package init(certificatePEM: String, keyPEM: String) throws(ReplicationError) {
    do {
      certificate = try Certificate(pemEncoded: certificatePEM)
      key = try Certificate.PrivateKey(pemEncoded: keyPEM)
    } catch {
      throw ReplicationError(
        .certificate,
        "The authority's certificate or key is not PEM of a known kind.",
        cause: error
      )
    }
    guard key.publicKey == certificate.publicKey else {
      throw ReplicationError(
        .certificate,
        "The authority's key does not belong to its certificate."
      )
    }
  }

  /// The certificate and the key of the authority as files.
  package func files() throws(ReplicationError) -> Issued {
    do {
      return Issued(
        certificate: try certificate.serializeAsPEM().pemString + "\n",
        key: try key.serializeAsPEM().pemString + "\n"
      )
    } catch {
      throw ReplicationError(.certificate, "The authority cannot be written as PEM.", cause: error)
    }
  }

  /// A certificate for a node.
  ///
  /// - Parameters:
  ///   - name: The node's name: letters, digits, dots, hyphens and underscores.
  ///   - hosts: DNS names and IP addresses under which other nodes dial it.
  package func issue(
    name: String,
    hosts: [String],
    now: Date,
    validityDays: Int = Self.defaultNodeValidityDays
  ) throws(ReplicationError) -> Issued {
    try issue(
      name: name,
      hosts: hosts,
      from: now.addingTimeInterval(-Self.clockSkew),
      until: now.addingTimeInterval(Self.days(validityDays))
    )
  }

  package func issue(
    name: String,
    hosts: [String],
    from: Date,
    until: Date
  ) throws(ReplicationError) -> Issued {
    guard Self.isHostName(name), name.utf8.count <= Self.maxNameLength else {
      throw ReplicationError(
        .certificate,
        "\(name) cannot name a node: use at most \(Self.maxNameLength) letters, digits, dots,"
          + " hyphens and underscores."
      )
    }
    var names: [GeneralName] = [.dnsName(name)]
    for host in hosts where host != name { names.append(try Self.generalName(host)) }
    let nodeKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
    do {
      let issued = try Certificate(
        version: .v3,
        serialNumber: Certificate.SerialNumber(),
        publicKey: nodeKey.publicKey,
        notValidBefore: from,
        notValidAfter: until,
        issuer: certificate.subject,
        subject: try DistinguishedName { CommonName(name) },
        extensions: try Certificate.Extensions {
          Critical(BasicConstraints.notCertificateAuthority)
          Critical(KeyUsage(digitalSignature: true))
          try ExtendedKeyUsage([.serverAuth, .clientAuth])
          SubjectAlternativeNames(names)
          SubjectKeyIdentifier(hash: nodeKey.publicKey)
          AuthorityKeyIdentifier(
            keyIdentifier: SubjectKeyIdentifier(hash: certificate.publicKey).keyIdentifier
          )
        },
        issuerPrivateKey: key
      )
      return Issued(
        certificate: try issued.serializeAsPEM().pemString + "\n",
        key: try nodeKey.serializeAsPEM().pemString + "\n"
      )
    } catch {
      throw ReplicationError(
        .certificate,
        "The certificate of \(name) cannot be made.",
        cause: error
      )
    }
  }

  private static func days(_ count: Int) -> TimeInterval { TimeInterval(count) * 86_400 }

  private static func generalName(_ host: String) throws(ReplicationError) -> GeneralName {
    if let address = IPAddress(host) {
      return .ipAddress(ASN1OctetString(contentBytes: address.bytes[...]))
    }
    guard isHostName(host) else {
      throw ReplicationError(
        .certificate,
        "\(host) is neither a host name nor an IP address."
      )
    }
    return .dnsName(host)
  }

  private static func isHostName(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= WireLimit.name
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
          UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }
}
