package import Store

extension PrimaryPeer {
  /// Whether the replica may ask for grants.
  var lends: Bool { features.contains(.writeGrants) }

  /// What the replica is told of its grants, ahead of entries and pages that wait.
  package mutating func answer(_ answer: GrantAnswer) {
    guard isStreaming, lends else { return }
    outbox.append(.send(.grantAnswer(answer)))
  }

  mutating func receive(_ request: GrantRequest) {
    guard lends else {
      return violation("The replica asks for grants without having agreed to use them.")
    }
    outbox.append(.grant(request))
  }
}
