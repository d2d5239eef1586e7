extension ReplicationError {
  /// Why a connection that this node dialled broke, as its handler learns it.
  ///
  /// - Parameters:
  ///   - peer: What the other side is, as texts call it.
  ///   - isIdentified: Whether it had been known who it is, as far as that is asked.
  static func broken(
    _ error: any Error,
    peer: String,
    verdict: PeerVerdict?,
    isIdentified: Bool
  ) -> ReplicationError {
    if let error = error as? ReplicationError { return error }
    if case .failure(let rejection)? = verdict?.result {
      return ReplicationError(
        .refused(rejection.reason),
        "The \(peer)'s certificate was refused. \(rejection.text)"
      )
    }
    if isIdentified {
      return ReplicationError(.closed, "The connection to the \(peer) broke.", cause: error)
    }
    return ReplicationError(
      .refused(.tlsFailure),
      "The \(peer) did not complete the TLS handshake: do both certificates come from the same"
        + " authority, and are they valid?",
      cause: error
    )
  }
}
