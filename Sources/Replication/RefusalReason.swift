/// Why a peer was turned away: the label of a counter, and a code on the wire.
///
/// The set is closed so that the number of time series is bounded.
package enum RefusalReason: UInt16, CaseIterable, Sendable {
  case noCertificate = 1
  case otherAuthority = 2
  case expiredCertificate = 3
  case wrongName = 4
  case plainText = 5
  /// The peer connected and then said nothing, or hung up before it had said who it is.
  case halfOpen = 6
  case tlsFailure = 7
  case malformed = 8
  case version = 9
  case otherCluster = 10
  case itself = 11
  case staleTerm = 12
  case notPrimary = 13
  case tooManyConnections = 14
  /// The certificate is not meant for this side of a connection.
  case wrongPurpose = 15
  case other = 16
  /// A node that takes no part in the election wants to.
  case notVoter = 17

  package var label: String {
    switch self {
    case .noCertificate: "no_certificate"
    case .otherAuthority: "other_authority"
    case .expiredCertificate: "expired_certificate"
    case .wrongName: "wrong_name"
    case .plainText: "plain_text"
    case .halfOpen: "half_open"
    case .tlsFailure: "tls_failure"
    case .malformed: "malformed"
    case .version: "version"
    case .otherCluster: "other_cluster"
    case .itself: "itself"
    case .staleTerm: "stale_term"
    case .notPrimary: "not_primary"
    case .tooManyConnections: "too_many_connections"
    case .wrongPurpose: "wrong_purpose"
    case .other: "other"
    case .notVoter: "not_voter"
    }
  }
}
