package import Foundation
import SwiftASN1
import X509

/// What an operator needs to know of a certificate file.
package struct CertificateInspection: Hashable, Sendable {
  package var subject: String
  package var issuer: String
  package var identity: PeerIdentity
  package var notBefore: Date
  package var notAfter: Date
  package var isAuthority: Bool
  /// Whether the authority's key signed it; nil when no authority was given.
  package var isIssuedByAuthority: Bool?
  /// Whether the key belongs to it; nil when no key was given.
  package var hasMatchingKey: Bool?

  /// - Parameters:
  ///   - pem: The certificate's file; the first certificate in it is looked at.
  ///   - authorityPEM: The authority's file, which may hold several certificates.
  package init(
    pem: String,
    authorityPEM: String? = nil,
    keyPEM: String? = nil
  ) throws(ReplicationError) {
    guard let certificate = try Self.certificates(in: pem).first else {
      throw ReplicationError(.certificate, "The file holds no certificate.")
    }
    subject = String(describing: certificate.subject)
    issuer = String(describing: certificate.issuer)
    identity = PeerIdentity(certificate)
    notBefore = certificate.notValidBefore
    notAfter = certificate.notValidAfter
    if case .isCertificateAuthority = try? certificate.extensions.basicConstraints {
      isAuthority = true
    } else {
      isAuthority = false
    }
    if let authorityPEM {
      isIssuedByAuthority = try Self.certificates(in: authorityPEM).contains { authority in
        authority.subject == certificate.issuer
          && authority.publicKey.isValidSignature(certificate.signature, for: certificate)
      }
    }
    if let keyPEM {
      hasMatchingKey =
        (try? Certificate.PrivateKey(pemEncoded: keyPEM))?.publicKey == certificate.publicKey
    }
  }

  static func certificates(in pem: String) throws(ReplicationError) -> [Certificate] {
    do {
      return try PEMDocument.parseMultiple(pemString: pem)
        .filter { $0.discriminator == Certificate.defaultPEMDiscriminator }
        .map { try Certificate(pemDocument: $0) }
    } catch {
      throw ReplicationError(.certificate, "The file is not PEM of a certificate.", cause: error)
    }
  }
}
