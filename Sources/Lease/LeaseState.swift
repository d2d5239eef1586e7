/// The node that holds the lease.
package struct LeaseHolder: Hashable, Sendable {
  /// The node's name; nil while only its address is known, as with a fixed primary that has not
  /// been reached yet.
  package var name: String?
  /// Where its peers reach it: `host:port`.
  package var address: String

  package init(name: String?, address: String) {
    self.name = name
    self.address = address
  }
}

/// Who is primary, as far as this node knows.
package struct LeaseState: Hashable, Sendable {
  /// Nil while nobody is known to hold the lease.
  package var holder: LeaseHolder?
  /// The term of the holder, or the last one known.
  package var term: LeaseTerm
  /// Whether the holder is this node.
  package var isHeldHere: Bool
  /// Until when the holder may act without word from the others; nil when the lease never expires.
  package var deadline: LeaseClock.Instant?

  package init(
    holder: LeaseHolder?,
    term: LeaseTerm,
    isHeldHere: Bool,
    deadline: LeaseClock.Instant?
  ) {
    self.holder = holder
    self.term = term
    self.isHeldHere = isHeldHere
    self.deadline = deadline
  }

  /// Whether this node may commit at `now`.
  ///
  /// - Parameter margin: How long before the deadline to stop, for work that is already under way
  ///   and for clocks that run at different speeds.
  package func mayCommit(at now: LeaseClock.Instant, margin: Duration) -> Bool {
    guard isHeldHere else { return false }
    guard let deadline else { return true }
    return now < deadline - margin
  }
}
