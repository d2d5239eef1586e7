import Logging
import Replication

/// Makes what replication needs from the configuration.
enum NodeLinks {
  /// How connections are protected; nil for a node that has none.
  static func security(
    _ configuration: Configuration,
    _ logger: Logger
  ) throws -> Replication.TransportSecurity? {
    switch configuration.replication.tls {
    case .certificates(let authority, let certificate, let key):
      let files = TLSFiles(authority: authority, certificate: certificate, key: key)
      return .tls(try TLSCredentials(files: files, logger: logger))
    case .insecure: return .insecure
    case nil: return nil
    }
  }
}
