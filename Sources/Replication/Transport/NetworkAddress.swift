import NIOCore

/// Where a node listens or is dialled.
package struct NetworkAddress: Hashable, Sendable {
  /// A name or an IP address; empty for every address of this machine.
  package var host: String
  package var port: Int

  package init(host: String, port: Int) {
    self.host = host
    self.port = port
  }
}

extension NetworkAddress: CustomStringConvertible {
  package var description: String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// How the two ends of a connection are protected.
package enum TransportSecurity: Sendable {
  case tls(TLSCredentials)
  /// Plain text, on loopback addresses only: for tests and first steps on one machine.
  case insecure

  func check(_ address: SocketAddress) throws(ReplicationError) {
    guard case .insecure = self else { return }
    guard IPAddress(address)?.isLoopback == true else {
      throw ReplicationError(
        .configuration,
        "replication.tls.insecure allows plain text on loopback addresses only, and"
          + " \(address.ipAddress ?? "this address") is not one: set replication.tls.ca, cert and key."
      )
    }
  }
}
