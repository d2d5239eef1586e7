import Foundation
import NIOCore
import NIOSSL
import SwiftASN1
import Synchronization
import X509

/// Decides whether a peer's certificate is good, and for what it was refused if it is not.
///
/// swift-certificates' verifier builds the chain to one of the cluster's authorities and checks dates and
/// constraints (RFC 5280). On top, the certificate must be meant for the peer's side of the
/// connection, and a server must carry the name or address that was dialled, or the name the
/// configuration expects.
struct PeerVerifier: Sendable {
  enum Side: Sendable {
    case client
    /// Any one of these names or addresses will do.
    case server(names: [String])
  }

  struct Rejection: Error, Sendable {
    var reason: RefusalReason
    var text: String
  }

  let roots: CertificateStore
  /// Which side the peer is.
  let side: Side
  /// Seconds since 1970, for a word on expiry that is better than the verifier's.
  let wallClock: @Sendable () -> UInt64

  func verify(_ chain: [NIOSSLCertificate]) async -> Result<PeerIdentity, Rejection> {
    let certificates: [Certificate]
    do {
      certificates = try chain.map { try Certificate(derEncoded: $0.toDERBytes()) }
    } catch {
      return .failure(Rejection(reason: .malformed, text: "The certificate cannot be parsed."))
    }
    guard let leaf = certificates.first else {
      return .failure(Rejection(reason: .noCertificate, text: "No certificate was presented."))
    }
    var verifier = Verifier(rootCertificates: roots) { RFC5280Policy() }
    let result = await verifier.validate(
      leaf: leaf,
      intermediates: CertificateStore(certificates.dropFirst())
    )
    if case .couldNotValidate(let failures) = result {
      return .failure(explain(leaf, failures))
    }
    if let rejection = checkPurpose(leaf) { return .failure(rejection) }
    let identity = PeerIdentity(leaf)
    if case .server(let names) = side, !names.contains(where: { identity.covers(host: $0) }) {
      return .failure(
        Rejection(
          reason: .wrongName,
          text: "The certificate is for \(identity.listed), not for"
            + " \(names.joined(separator: " or ")): issue one with that name or host."
        )
      )
    }
    return .success(identity)
  }

  private func explain(
    _ leaf: Certificate,
    _ failures: [CertificateValidationResult.PolicyFailure]
  ) -> Rejection {
    // A chain was found but a policy failed it: an authority of ours signed it.
    guard let failure = failures.first else {
      return Rejection(
        reason: .otherAuthority,
        text: "The certificate (\(leaf.subject)) is not issued by this cluster's authority."
      )
    }
    let now = Double(wallClock())
    if leaf.notValidAfter.timeIntervalSince1970 < now {
      return Rejection(
        reason: .expiredCertificate,
        text: "The certificate (\(leaf.subject)) expired at \(leaf.notValidAfter): issue a new one."
      )
    }
    if leaf.notValidBefore.timeIntervalSince1970 > now {
      return Rejection(
        reason: .expiredCertificate,
        text: "The certificate (\(leaf.subject)) is valid from \(leaf.notValidBefore) on: check the"
          + " clocks."
      )
    }
    let reason = String(describing: failure.policyFailureReason)
    return Rejection(
      reason: reason.contains("expired") ? .expiredCertificate : .otherAuthority,
      text: "The certificate (\(leaf.subject)) is not valid: \(reason)"
    )
  }

  /// A certificate without the extension is good for anything (RFC 5280, section 4.2.1.12).
  private func checkPurpose(_ leaf: Certificate) -> Rejection? {
    guard let usages = try? leaf.extensions.extendedKeyUsage else { return nil }
    let wanted: ExtendedKeyUsage.Usage
    switch side {
    case .client: wanted = .clientAuth
    case .server: wanted = .serverAuth
    }
    if usages.contains(wanted) || usages.contains(.any) { return nil }
    return Rejection(
      reason: .wrongPurpose,
      text: "The certificate (\(leaf.subject)) is not meant for this side of a connection."
    )
  }
}

/// Carries the verdict on a peer from the verification to the connection's handler.
final class PeerVerdict: Sendable {
  private let value = Mutex<Result<PeerIdentity, PeerVerifier.Rejection>?>(nil)

  var result: Result<PeerIdentity, PeerVerifier.Rejection>? { value.withLock { $0 } }

  /// The callback for NIOSSL, which calls it once a connection, on the event loop. The verifier is
  /// async, so this is one of the few places that begin a task; it only computes and always ends.
  func callback(_ verifier: PeerVerifier) -> NIOSSLCustomVerificationCallback {
    { chain, promise in
      promise.completeWithTask {
        let result = await verifier.verify(chain)
        self.value.withLock { $0 = result }
        switch result {
        case .success: return .certificateVerified
        case .failure: return .failed
        }
      }
    }
  }
}

extension PeerIdentity {
  fileprivate var listed: String {
    (names.sorted() + addresses.map(\.description).sorted()).joined(separator: ", ")
  }
}
