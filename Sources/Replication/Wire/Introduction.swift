/// Who a connecting peer says it is, checked before anything else that it says.
struct Introduction {
  /// What the peer is to this node, as texts call it.
  enum Part: String {
    case replica, voter
  }

  var part: Part
  var versions: ClosedRange<UInt16>
  var cluster: ClusterID?
  var name: String

  /// Why this node does not want to hear more; nil when the peer is who it says.
  ///
  /// - Parameters:
  ///   - own: This node's name.
  ///   - ownCluster: Nil while this node belongs to none, so that the peer's may be any.
  ///   - certifiedNames: The names in the peer's certificate; nil without TLS.
  func objection(
    of own: String,
    in ownCluster: ClusterID?,
    certifiedNames: Set<String>?
  ) -> Refusal? {
    let supported = ProtocolVersion.supported
    guard versions.overlaps(supported) else {
      return Refusal(
        reason: .version,
        text: "The \(part) speaks the protocol versions \(versions), this node \(supported):"
          + " upgrade the older one."
      )
    }
    if let certifiedNames, !certifiedNames.contains(name) {
      return Refusal(
        reason: .wrongName,
        text: "The \(part) calls itself \(name), its certificate is for"
          + " \(certifiedNames.sorted().joined(separator: ", ")): issue one for its name."
      )
    }
    guard name != own else {
      return Refusal(
        reason: .itself,
        text: "The peer has this node's own name, \(own): it reached itself, or two nodes share"
          + " a name."
      )
    }
    if let cluster, let ownCluster, cluster != ownCluster {
      return Refusal(
        reason: .otherCluster,
        text: Self.otherCluster(part, of: cluster, own: ownCluster)
      )
    }
    return nil
  }

  static func otherCluster(_ part: Part, of cluster: ClusterID, own: ClusterID) -> String {
    "The \(part) belongs to cluster \(cluster), this node to \(own): to join, it must start with an"
      + " empty data directory."
  }
}
