import LTX
import Lease
import Logging
import Replication
import ServiceLifecycle
import Store
import Synchronization

// Handing over: nobody begins a transaction any more, those under way end, the successor gets what it lacks, and
// then the lease is given to it. Whoever wanted to write waits for all of that, and for no longer than `handOverTime`.

extension HaliteNode {
  /// How long writers are kept waiting before the hand-over is given up.
  private static let handOverTime = Duration.seconds(5)
  private static let look = Duration.milliseconds(1)

  package func promote() async throws -> String {
    if case .lending(_, let engine) = roles.current {
      let names = engine.databasesToRepair().joined(separator: ", ")
      throw ControlError(
        .refused,
        "this node lacks databases (\(names)) and waits for another one to be the primary"
      )
    }
    if let term = roles.term { return "this node is the primary already, in term \(term)" }
    try await lease.promote()
    let deadline = ContinuousClock.now + Self.handOverTime
    while !roles.isPrimary {
      try await wait(until: deadline, "this node holds the lease and could not take over in time")
    }
    return "this node is the primary, in term \(lease.state.term)"
  }

  package func demote(to successor: String?) async throws -> String {
    if case .alone = roles.current {
      throw ControlError(.refused, "this node stands alone; there is no other to be the primary")
    }
    guard roles.term != nil else {
      throw ControlError(.refused, "this node is not the primary")
    }
    try await handOver(to: successor)
    return "this node is not the primary any more"
  }

  /// Another node wants to be the primary.
  func yieldLease(to name: String) async {
    do {
      try await handOver(to: name)
    } catch {
      logger.warning(
        "the lease cannot be handed over",
        metadata: ["to": "\(name)", "reason": "\(error)"]
      )
    }
  }

  /// Gives the lease to another node.
  func handOver(to successor: String?) async throws {
    guard let quorum = lease as? QuorumLease else { return try await lease.demote(to: successor) }
    guard server != nil, roles.term != nil else { return }
    guard !isHandingOver.exchange(true, ordering: .acquiring) else {
      throw ControlError(.refused, "this node is handing over already")
    }
    defer { isHandingOver.store(false, ordering: .releasing) }
    let deadline = ContinuousClock.now + Self.handOverTime
    // Before it has taken over nobody writes here anyway.
    let isServing = store.role == .primary
    if isServing { store.pauseWriters() }
    // Also where the role has changed, which lets them go on by itself.
    defer { if isServing { store.resumeWriters() } }
    while isServing, !store.isQuiet {
      try await wait(until: deadline, "a client is in the midst of a transaction; try again")
    }
    var chosen: String?
    while chosen == nil {
      let candidates = quorum.successors.filter { successor == nil || successor == $0 }
      guard !candidates.isEmpty else {
        throw ControlError(
          .refused,
          "\(successor ?? "another voter") is not there, or is not a candidate"
        )
      }
      chosen = wholeSuccessor(candidates)
      if chosen == nil {
        try await wait(until: deadline, "no voter that could be the primary has everything yet")
      }
    }
    try await lease.demote(to: chosen)
    while roles.term != nil {
      try await wait(until: deadline, "the lease was given up, but the node has not followed")
    }
    handOvers.add(1, ordering: .relaxed)
  }

  /// One of those who could be the primary that is connected, has every entry and lacks no database.
  func wholeSuccessor(_ candidates: Set<String>) -> String? {
    let last = store.log.last.index
    return server?.peers().first { peer in
      let progress = peer.progress
      // One that has not spoken yet has applied nothing.
      return peer.isConnected && candidates.contains(peer.name) && progress.received >= last
        && progress.applied > .zero && progress.repairing == 0
    }?.name
  }

  private func wait(
    until deadline: ContinuousClock.Instant,
    _ reason: @autoclosure () -> String
  ) async throws {
    guard ContinuousClock.now < deadline else { throw ControlError(.refused, reason()) }
    try await Task.sleep(for: Self.look)
  }
}

/// Keeps the lease and does what it says; at the end it hands over, so that the others need not wait the lease
/// out.
struct LeaseService: Service {
  let node: HaliteNode

  func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      let node = node
      group.addTask { try await node.lease.run() }
      group.addTask { await node.followLease() }
      if let requests = node.handOverRequests {
        group.addTask { for await name in requests { await node.yieldLease(to: name) } }
      }
      group.addTask {
        try await gracefulShutdown()
        do {
          try await node.handOver(to: nil)
        } catch {
          node.logger.notice(
            "the lease is given up without a successor",
            metadata: ["reason": "\(error)"]
          )
        }
      }
      defer { group.cancelAll() }
      do { try await group.next() } catch is CancellationError {}
    }
  }
}
