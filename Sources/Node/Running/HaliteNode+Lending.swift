import LTX
import Lease
import Logging
import NIOPosix
import Replication
import Store

// A node that lacks databases can be elected: nobody else may have all of the log. It begins no term, since what it
// lacks it must not give to others as all there is; it lets them have its log, until one of them has it all and its
// databases too and can be the primary.

extension HaliteNode {
  /// How often it is looked whether another node can take the place of this one.
  private static let lending = Duration.milliseconds(50)
  /// Leases for which a node waits for such another one; then anyone may try.
  private static let lendingLeases = 2

  /// - Returns: whether this node lacks nothing any more and may begin the term itself.
  func lendLog(_ term: LeaseTerm, _ engine: ReplicaEngine) async -> Bool {
    logger.error(
      "this node lacks databases; it gives its log to the others until one of them can be the primary",
      metadata: [
        "term": "\(term)", "to repair": "\(engine.databasesToRepair().joined(separator: ", "))",
      ]
    )
    guard case .quorum(let quorum) = configuration.lease.kind, let voter = lease as? QuorumLease
    else { return false }
    guard await note(term) else { return false }
    store.lendLog()
    roles.set(.lending(Term(term.rawValue), engine))
    let deadline = ContinuousClock.now + quorum.ttl * Self.lendingLeases
    while holds(term), !engine.isWhole {
      let successor = wholeSuccessor(voter.successors)
      if successor != nil || ContinuousClock.now >= deadline {
        try? await lease.demote(to: successor)
      }
      guard (try? await Task.sleep(for: Self.lending)) != nil else { return false }
    }
    return holds(term)
  }

  /// Notes a term in which replicas follow this node; gives the lease up where that cannot be.
  private func note(_ term: LeaseTerm) async -> Bool {
    do {
      try await pool.runIfActive { [self] in
        guard let identity = cluster.given else {
          throw StoreError(.invalid, "this node belongs to no cluster yet and has nothing to lend")
        }
        try cluster.adopt(cluster: identity, term: Term(term.rawValue), isConfirmed: false)
      }
      return true
    } catch {
      await giveAway(
        term,
        "this node cannot note a term, another one is to be the primary",
        ["error": "\(error)"]
      )
      return false
    }
  }
}
