import NIOCore
import NIOSSL
import X509

/// What a node needs for its side of a connection, made from its files.
struct TLSMaterial: Sendable {
  let server: NIOSSLContext
  let client: NIOSSLContext
  let roots: CertificateStore
  let contents: TLSFileContents

  /// How long a closing side waits for the other's close, in seconds.
  private static let shutdownSeconds: Int64 = 1

  init(_ contents: TLSFileContents) throws(ReplicationError) {
    self.contents = contents
    let authorities = try CertificateInspection.certificates(in: contents.authority)
    guard !authorities.isEmpty else {
      throw ReplicationError(.certificate, "The file of replication.tls.ca holds no certificate.")
    }
    let own = try CertificateInspection(
      pem: contents.certificate,
      authorityPEM: contents.authority,
      keyPEM: contents.key
    )
    guard own.hasMatchingKey == true else {
      throw ReplicationError(
        .certificate,
        "The file of replication.tls.key is not the key of replication.tls.cert."
      )
    }
    guard own.isIssuedByAuthority == true else {
      throw ReplicationError(
        .certificate,
        "The certificate of replication.tls.cert is not issued by the authority of"
          + " replication.tls.ca."
      )
    }
    roots = CertificateStore(authorities)
    do {
      let chain = try NIOSSLCertificate.fromPEMBytes(Array(contents.certificate.utf8))
      let key = try NIOSSLPrivateKey(bytes: Array(contents.key.utf8), format: .pem)
      let trusted = try NIOSSLCertificate.fromPEMBytes(Array(contents.authority.utf8))
      var configuration = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain.map { .certificate($0) },
        privateKey: .privateKey(key)
      )
      Self.restrict(&configuration, trusting: trusted)
      server = try NIOSSLContext(configuration: configuration)
      configuration = TLSConfiguration.makeClientConfiguration()
      configuration.certificateChain = chain.map { .certificate($0) }
      configuration.privateKey = .privateKey(key)
      Self.restrict(&configuration, trusting: trusted)
      client = try NIOSSLContext(configuration: configuration)
    } catch {
      throw ReplicationError(
        .certificate,
        "The certificate files cannot be used for TLS.",
        cause: error
      )
    }
  }

  /// TLS 1.3 and a certificate from both sides. `PeerVerifier` judges it, names included; this mode
  /// makes the handshake ask for it and fail without.
  private static func restrict(
    _ configuration: inout TLSConfiguration,
    trusting roots: [NIOSSLCertificate]
  ) {
    configuration.minimumTLSVersion = .tlsv13
    configuration.certificateVerification = .noHostnameVerification
    configuration.trustRoots = .certificates(roots)
    configuration.shutdownTimeout = .seconds(Self.shutdownSeconds)
  }
}
