extension PeerSession {
  /// On the accepting side.
  mutating func receive(_ hello: PeerHello) {
    guard case .accepting(let voters) = side else { return }
    let introduction = Introduction(
      part: .voter,
      versions: hello.versions,
      cluster: hello.cluster,
      name: hello.name
    )
    if let objection = introduction.objection(
      of: local.name,
      in: local.cluster,
      certifiedNames: certifiedNames
    ) {
      return refuse(objection.reason, objection.text)
    }
    guard voters.contains(hello.name) else {
      return refuse(
        .notVoter,
        "\(hello.name) is none of the voters that this node, \(local.name), knows: all voters must"
          + " be configured with the same list."
      )
    }
    agree(with: hello.name, of: hello.cluster, features: hello.features)
    let highest = min(hello.versions.upperBound, ProtocolVersion.supported.upperBound)
    outbox.append(
      .send(
        .peerWelcome(
          PeerWelcome(
            version: highest,
            features: features,
            cluster: local.cluster,
            name: local.name
          )
        )
      )
    )
  }

  /// On the dialling side.
  mutating func receive(_ welcome: PeerWelcome) {
    guard case .dialling(let voter) = side else { return }
    let introduction = Introduction(
      part: .voter,
      versions: welcome.version...welcome.version,
      cluster: welcome.cluster,
      name: welcome.name
    )
    if let objection = introduction.objection(
      of: local.name,
      in: local.cluster,
      certifiedNames: certifiedNames
    ) {
      return refuse(objection.reason, objection.text)
    }
    // A certificate that is good for the address may be another voter's: what is meant for one must
    // not be counted as said to the other.
    guard welcome.name == voter else {
      return refuse(
        .wrongName,
        "The node at the address of the voter \(voter) calls itself \(welcome.name)."
      )
    }
    agree(with: welcome.name, of: welcome.cluster, features: welcome.features)
  }

  private mutating func agree(with name: String, of cluster: ClusterID?, features: Features) {
    self.name = name
    self.features = features.intersection(.supported)
    peerCluster = cluster
    phase = .open
  }
}
