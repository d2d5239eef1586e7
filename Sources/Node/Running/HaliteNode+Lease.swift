import LTX
import Lease
import Logging
import NIOPosix
import Replication
import ServiceLifecycle
import Store

// A node whose lease can come and go. What the lease says is carried out by one loop, so that one change of roles
// has ended before the next begins; that nothing is committed without the lease does not wait for it, since the
// log asks the lease for each entry (`Log.setLease`).

extension HaliteNode {
  /// How often it is looked whether all that came from the last primary has been applied.
  private static let settling = Duration.milliseconds(2)

  /// How long a node that was elected may take to apply what it has.
  private static let patience = Duration.seconds(5)

  /// Does what the lease says until the task is cancelled.
  func followLease() async {
    var states = lease.states().makeAsyncIterator()
    var next = await states.next(isolation: #isolation)
    while let state = next, !Task.isCancelled {
      if state.isHeldHere {
        await takeOver(state.term)
        repeat {
          next = await states.next(isolation: #isolation)
        } while next?.isHeldHere == true
          && next?.term == state.term
        await giveUp()
      } else {
        await withTaskGroup(of: Void.self) { group in
          group.addTask { await self.follow(state) }
          repeat {
            next = await states.next(isolation: #isolation)
          } while next.map {
            !$0.isHeldHere && $0.holder == state.holder && $0.term == state.term
          } ?? false
          group.cancelAll()
        }
      }
    }
  }

  func holds(_ term: LeaseTerm) -> Bool {
    let now = lease.state
    return now.isHeldHere && now.term == term
  }

  /// Becomes the primary, once all that the log holds is committed and applied.
  private func takeOver(_ term: LeaseTerm) async {
    guard case .replica(_, let engine) = roles.current else { return }
    if !engine.isWhole {
      guard await lendLog(term, engine) else { return }
    }
    guard await open(term, engine) else { return }
    var deadline = ContinuousClock.now + Self.patience
    while !engine.isCurrent {
      guard holds(term), (try? await Task.sleep(for: Self.settling)) != nil else { return }
      guard ContinuousClock.now >= deadline else { continue }
      let isGiven = await tryToGiveAway(
        term,
        "this node cannot be the primary, since it waits for databases",
        [
          "waiting": "\(waiting().joined(separator: "; "))",
          "to repair": "\(engine.databasesToRepair().joined(separator: ", "))",
        ]
      )
      if isGiven { return }
      // Nobody is there to take it: the client that is in the way may be gone first.
      deadline = ContinuousClock.now + Self.patience
    }
    guard holds(term) else { return }
    do {
      try await pool.runIfActive { [self] in
        try store.becomePrimary(Term(term.rawValue))
      }
      roles.set(.primary(Term(term.rawValue)))
      logger.notice("this node is the primary", metadata: ["term": "\(term)"])
      tellPrimary(lease.state)
    } catch {
      await giveAway(
        term,
        "this node cannot be the primary, another one is to be",
        ["error": "\(error)"]
      )
    }
  }

  /// Says why this node does not use its lease, and gives it up for another one.
  func giveAway(_ term: LeaseTerm, _ reason: Logger.Message, _ details: Logger.Metadata) async {
    while await !tryToGiveAway(term, reason, details), holds(term) {
      guard (try? await Task.sleep(for: Self.patience)) != nil else { return }
    }
  }

  /// - Returns: false where there is nobody to take it at this moment.
  private func tryToGiveAway(
    _ term: LeaseTerm,
    _ reason: Logger.Message,
    _ details: Logger.Metadata
  ) async -> Bool {
    var details = details.merging(["term": "\(term)"]) { old, _ in old }
    do {
      try await lease.demote(to: nil)
      logger.error(reason, metadata: details)
      return true
    } catch {
      details["still here"] = "\(error)"
      logger.error(reason, metadata: details)
      return false
    }
  }

  /// Begins a term: the others can follow this node, whose clients cannot write yet. With entries of its own term
  /// those of earlier ones are committed too.
  ///
  /// - Returns: whether all of it is committed; false where this node is not to be the primary.
  private func open(_ term: LeaseTerm, _ engine: ReplicaEngine) async -> Bool {
    do {
      let first = try await pool.runIfActive { [self] in
        let identity = cluster.given ?? NodeIdentity.newCluster()
        try cluster.adopt(cluster: identity, term: Term(term.rawValue), isConfirmed: false)
        return try store.open(Term(term.rawValue))
      }
      roles.set(.opening(Term(term.rawValue), engine))
      guard try await confirmCluster(term) else { return false }
      store.log.confirm(through: first) { _ in }
      while store.log.committed < first {
        // Those that this would need may have to begin anew, which they must not with what this node lacks.
        guard engine.isWhole else {
          try? await lease.demote(to: nil)
          return false
        }
        guard holds(term), (try? await Task.sleep(for: Self.settling)) != nil else { return false }
      }
      return true
    } catch {
      await giveAway(
        term,
        "this node cannot begin a term, another one is to",
        ["error": "\(error)"]
      )
      return false
    }
  }

  /// Waits, where the cluster has a proposed name only, until a majority follows; nothing is written before.
  ///
  /// - Returns: false where this node is not to be the primary any more.
  private func confirmCluster(_ term: LeaseTerm) async throws -> Bool {
    guard cluster.cluster == nil, let proposed = cluster.given, let voter = lease as? QuorumLease
    else { return true }
    while !voter.isFollowed {
      guard holds(term), (try? await Task.sleep(for: Self.settling)) != nil else { return false }
    }
    try await pool.runIfActive { [self] in
      try cluster.adopt(cluster: proposed, term: Term(term.rawValue), isConfirmed: true)
    }
    // They come again, and are told so.
    await server?.closeReplicas()
    return true
  }

  /// Is a replica from now on; clients go on with the databases that they have open.
  private func giveUp() async {
    switch roles.current {
    case .opening(_, let engine) where store.role != .primary, .lending(_, let engine):
      store.abandonTerm()
      roles.set(.replica(nil, engine))
      await server?.closeReplicas()
      return
    default: break
    }
    guard roles.term != nil else { return }
    store.stepDown()
    roles.set(.changing)
    do {
      let engine = try await pool.runIfActive { [self] in
        let engine = try ReplicaEngine(store: store)
        store.follow(engine)
        return engine
      }
      roles.set(.replica(nil, engine))
    } catch is CancellationError {
      // The node ends.
      return
    } catch {
      logger.critical(
        "this node cannot follow another primary; restart it",
        metadata: ["error": "\(error)"]
      )
    }
    store.resumeWriters()
    await server?.closeReplicas()
    logger.notice("this node is not the primary any more")
    tellPrimary(lease.state)
  }

  /// Follows the holder of a lease, or looks for it, until the task is cancelled.
  private func follow(_ state: LeaseState) async {
    guard case .replica(_, let engine) = roles.current else { return }
    tellPrimary(state)
    engine.follow(Term(state.term.rawValue))
    guard let holder = state.holder, let address = SocketAddressText(holder.address) else {
      return await seek(engine)
    }
    await follow(address, named: holder.name, engine)
  }

  private func follow(
    _ address: SocketAddressText,
    named name: String?,
    _ engine: ReplicaEngine
  ) async {
    do {
      let client = try parts.client(of: address, named: name, engine)
      roles.set(.replica(client, engine))
      try await client.run()
    } catch {
      logger.error("the primary cannot be followed", metadata: ["error": "\(error)"])
    }
    roles.set(.replica(nil, engine))
  }

  /// A node that does not vote is told by nobody who the primary is: it asks one voter after the other.
  private func seek(_ engine: ReplicaEngine) async {
    guard case .quorum(let quorum) = configuration.lease.kind,
      !quorum.isVoter(configuration.lease.hostname)
    else { return }
    while !Task.isCancelled {
      for (name, address) in quorum.voters.sorted(by: { $0.key < $1.key }) where !Task.isCancelled {
        await withTaskGroup(of: Void.self) { group in
          group.addTask { await self.follow(address, named: name, engine) }
          group.addTask { await self.whileConnected() }
          await group.next()
          group.cancelAll()
        }
      }
    }
  }

  /// Returns when a client has had no connection for a while.
  private func whileConnected() async {
    var missed = 0
    while missed < Self.seekingTries, (try? await Task.sleep(for: Self.seeking)) != nil {
      guard case .replica(let client?, _) = roles.current else { continue }
      missed = client.status.isConnected ? 0 : missed + 1
    }
  }

  private static let seeking = Duration.milliseconds(100)
  private static let seekingTries = 10

  func tellPrimary(_ state: LeaseState) {
    events.publish(
      .primaryChange(
        isPrimary: state.isHeldHere,
        hostname: state.isHeldHere
          ? configuration.lease.hostname : state.holder?.name ?? state.holder?.address ?? ""
      )
    )
  }

  /// What keeps this node in touch with the others.
  func linkServices() -> [NodeService] {
    var services: [NodeService] = []
    func add(_ name: String, _ body: @escaping @Sendable () async throws -> Void) {
      services.append(NodeService(name: name, service: CancelledAtShutdown(body)))
    }
    if let server { add("replicas") { try await server.run() } }
    if let voters { add("voters") { try await voters.run() } }
    switch (configuration.lease.kind, roles.current) {
    case (.quorum, _):
      services.append(NodeService(name: "lease", service: LeaseService(node: self)))
    case (_, .replica(let client?, _)):
      add("primary") { try await client.run() }
    default: break
    }
    if case .tls(let credentials) = parts.security {
      let watcher = TLSWatcher(credentials, pool: pool)
      add("certificates") { try await watcher.run() }
    }
    return services
  }
}
