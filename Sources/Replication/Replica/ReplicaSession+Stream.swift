import LTX
import Store

extension ReplicaSession {
  mutating func receive(_ welcome: Welcome, term: Term) {
    guard term >= local.term else {
      return refuse(
        .staleTerm,
        "The primary is of term \(term); this node has seen term \(local.term). If the primary's"
          + " data directory was replaced, this node must start with an empty one too."
      )
    }
    guard ProtocolVersion.supported.contains(welcome.version) else {
      return refuse(.version, "The primary chose the protocol version \(welcome.version).")
    }
    if let cluster = local.cluster, cluster != welcome.cluster {
      return refuse(
        .otherCluster,
        "The primary belongs to cluster \(welcome.cluster), this node to \(cluster): to join, it"
          + " must start with an empty data directory."
      )
    }
    guard welcome.name != local.name else {
      return refuse(.itself, "The primary's address leads to this node itself, \(local.name).")
    }
    if let certifiedNames, !certifiedNames.contains(welcome.name) {
      return refuse(
        .wrongName,
        "The primary calls itself \(welcome.name), its certificate is for"
          + " \(certifiedNames.sorted().joined(separator: ", "))."
      )
    }
    guard fits(welcome.plan) else {
      return violation("The primary's plan does not fit this node's log: \(welcome.plan).")
    }
    local.term = term
    local.cluster = welcome.cluster
    primaryName = welcome.name
    features = welcome.features.intersection(.supported)
    welcomed = welcome.log.last.index
    primaryLast = welcome.log.last.index
    expected = welcome.plan.start
    phase = .preparing
    queue(
      .prepare(
        Preparation(
          cluster: welcome.cluster,
          isConfirmed: features.contains(.confirmedCluster),
          term: term,
          plan: welcome.plan,
          databases: welcome.databases
        )
      )
    )
  }

  private func fits(_ plan: CatchUpPlan) -> Bool {
    switch plan {
    case .stream(let common): !local.wantsReset && common == summary.last.index
    case .truncate(let common):
      !local.wantsReset && common < summary.last.index && summary.first <= common.next
    case .reset: true
    }
  }

  mutating func receive(_ message: Message, at now: ContinuousClock.Instant) {
    switch message {
    case .entries(let batch):
      guard batch.first == expected.next else {
        return violation("Entry \(batch.first) came, \(expected.next) was expected.")
      }
      expected = batch.last
      commit = max(commit, batch.commit)
      primaryLast = max(primaryLast, batch.last)
      lag.note(batch.last, at: now)
      queue(.append(batch))
    case .heartbeat(let heartbeat): noteHeartbeat(heartbeat, at: now)
    case .snapshotBegin(let id, let begin): receive(begin, id: id)
    case .snapshotPages(let id, let pages): receive(pages, id: id)
    case .snapshotEnd(let id, let end): receive(end, id: id)
    case .snapshotFailure(let id, let failure): receive(failure, id: id, at: now)
    case .grantAnswer(let answer): receive(answer)
    case .hello, .welcome, .refusal, .goodbye, .acknowledgement, .snapshotRequest,
      .peerHello, .peerWelcome, .peerMessage, .grantRequest:
      violation("A primary must not send a message of type \(message.kind) here.")
    }
  }

  mutating func succeeded(
    _ done: Work,
    _ state: SinkState,
    at now: ContinuousClock.Instant
  ) {
    switch done {
    case .prepare:
      phase = .streaming
      hasStreamed = true
      lag.note(primaryLast, at: now)
    case .endSnapshot(let database, _) where database == repair.database,
      .dropDatabase(let database) where database == repair.database:
      repair.succeed()
    case .append, .beginSnapshot, .addSnapshot, .endSnapshot, .dropDatabase: break
    }
    take(state, at: now)
  }

  mutating func failed(_ done: Work, _ error: StoreError, at now: ContinuousClock.Instant) {
    switch done {
    case .prepare(let preparation):
      close(
        ReplicationError(
          .store,
          "This node's log cannot be brought in line (\(preparation.plan)).",
          cause: error
        )
      )
    case .append(let batch):
      let text = "Entries \(batch.first) to \(batch.last) cannot be appended to this node's log."
      outbox.append(.send(.goodbye(Goodbye(reason: .failure, text: text))))
      close(ReplicationError(.store, text, cause: error))
    case .beginSnapshot, .addSnapshot, .endSnapshot, .dropDatabase:
      guard done.database == repair.database else { return }
      giveUpRepair(
        ReplicationError(
          .store,
          "The snapshot of \(repair.database) cannot be installed.",
          cause: error
        ),
        at: now
      )
    }
  }
}

extension ReplicaSession.Work {
  /// The database that is being repaired; nil for work on the log.
  fileprivate var database: String? {
    switch self {
    case .prepare, .append: nil
    case .beginSnapshot(let begin): begin.database
    case .addSnapshot(let name, _), .endSnapshot(let name, _), .dropDatabase(let name): name
    }
  }
}
