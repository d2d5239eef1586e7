package import Store

extension ReplicaSession {
  /// Whether the primary can be asked for grants.
  var borrows: Bool { features.contains(.writeGrants) }

  /// What the primary is asked for: at once, whatever else is held back for a moment.
  package mutating func request(_ request: GrantRequest) {
    guard phase == .streaming, borrows else { return }
    outbox.append(.send(.grantRequest(request)))
  }

  mutating func receive(_ answer: GrantAnswer) {
    guard borrows else {
      return violation("The primary speaks of grants without having agreed to use them.")
    }
    outbox.append(.grantAnswered(answer))
  }
}
