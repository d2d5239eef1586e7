import NIOSSL

/// What a failed TLS handshake says about the peer.
struct TLSFailure {
  var reason: RefusalReason
  var text: String

  init(_ error: any Error) {
    // NIOSSL gives BoringSSL's errors as text only.
    let detail = String(describing: error)
    if detail.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE") {
      reason = .noCertificate
      text = "The peer has no certificate: set replication.tls.cert and key on its side."
    } else if detail.contains("WRONG_VERSION_NUMBER") || detail.contains("HTTP_REQUEST") {
      reason = .plainText
      text = "The peer does not speak TLS."
    } else if detail.contains("EOF during handshake") || detail.contains("uncleanShutdown") {
      reason = .halfOpen
      text = "The peer hung up before it had said who it is."
    } else if error is NIOSSLError || error is BoringSSLError {
      reason = .tlsFailure
      text = "The TLS handshake failed: \(detail)"
    } else {
      reason = .halfOpen
      text = "The connection broke before the peer had said who it is: \(detail)"
    }
  }
}
