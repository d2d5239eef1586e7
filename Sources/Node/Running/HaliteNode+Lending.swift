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

  func lendLog(_ term: LeaseTerm, _ engine: ReplicaEngine) async {
    logger.error(
      "this node lacks databases; it gives its log to the others until one of them can be the primary",
      metadata: [
        "term": "\(term)", "to repair": "\(engine.databasesToRepair().joined(separator: ", "))",
      ]
    )
    guard case .quorum(let quorum) = configuration.lease.kind, let voter = lease as? QuorumLease
    else { return }
    do {
      try await pool.runIfActive { [self] in
        try cluster.adopt(
          cluster: cluster.cluster ?? NodeIdentity.newCluster(),
          term: Term(term.rawValue)
        )
      }
    } catch {
      logger.error(
        "this node cannot note a term, another one is to be the primary",
        metadata: ["term": "\(term)", "error": "\(error)"]
      )
      try? await lease.demote(to: nil)
      return
    }
    store.lendLog()
    roles.set(.opening(Term(term.rawValue), engine))
    let deadline = ContinuousClock.now + quorum.ttl * Self.lendingLeases
    while holds(term) {
      let successor = wholeSuccessor(voter.successors)
      if successor != nil || ContinuousClock.now >= deadline {
        try? await lease.demote(to: successor)
      }
      guard (try? await Task.sleep(for: Self.lending)) != nil else { return }
    }
  }

  /// One of those who could be the primary that has all entries and lacks no database.
  private func wholeSuccessor(_ candidates: Set<String>) -> String? {
    let last = store.log.last.index
    return server?.peers().first { peer in
      let progress = peer.progress
      // One that has not spoken yet has applied nothing.
      return peer.isConnected && candidates.contains(peer.name) && progress.received >= last
        && progress.applied > .zero && progress.repairing == 0
    }?.name
  }
}
