package import Store

extension PrimaryPeer {
  /// Checks who the peer is before anything about this node's log is said.
  mutating func receive(_ hello: Hello, term: Term) {
    let introduction = Introduction(
      part: .replica,
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
    // A node without a cluster has nothing that a replica could follow.
    guard let ownTerm = local.term, let cluster = local.cluster else {
      let hint = local.primary.map { " The primary is at \($0)." } ?? ""
      return refuse(.notPrimary, "This node is not the primary.\(hint)")
    }
    guard term <= ownTerm else {
      outbox.append(.higherTerm(term))
      return refuse(
        .staleTerm,
        "The replica has seen term \(term); this primary is of term \(ownTerm)."
      )
    }
    phase = .summarizing(hello, cluster)
    outbox.append(.summarize(hello.name))
  }

  /// What this node's log and databases are; the databases were listed after the log was read.
  ///
  /// - Parameters:
  ///   - base: where a log that begins anew begins; the end of this node's if none is given.
  ///   - isWhole: whether this node has all databases. One that lacks some gives its log to others, so that one of
  ///     them can take its place; nobody begins anew with what it has, or cuts a log for it with which he could
  ///     be elected himself.
  package mutating func summarized(
    log: LogSummary,
    databases: [DatabaseSummary],
    base: EntryID? = nil,
    isWhole: Bool = true
  ) {
    guard case .summarizing(let hello, let cluster) = phase else { return }
    let size = databases.reduce(0) { $0 + DatabaseSummary.smallestSize + $1.name.utf8.count }
    guard databases.count <= WireLimit.databases, size <= Frame.maxPayload / 2 else {
      return say(
        .failure,
        "There are too many databases to list (\(databases.count)).",
        code: .store
      )
    }
    let plan = CatchUpPlan(
      primary: log,
      replica: hello.log,
      wantsReset: hello.wantsReset,
      base: base ?? log.last
    )
    if !isWhole, plan.hurts(hello.log, followerOf: log) {
      return refuse(
        .notPrimary,
        "This node lacks databases itself and waits for another to be the primary."
      )
    }
    admit(hello.name, start: plan.start)
    features = hello.features.intersection(local.features)
    let highest = min(hello.versions.upperBound, ProtocolVersion.supported.upperBound)
    outbox.append(
      .send(
        .welcome(
          Welcome(
            version: highest,
            features: features,
            cluster: cluster,
            name: local.name,
            log: log,
            databases: databases,
            plan: plan
          )
        )
      )
    )
    self.log.learn(log.last.index)
  }

  mutating func receive(_ message: Message, at now: ContinuousClock.Instant) {
    switch message {
    case .acknowledgement(let value): receive(value)
    case .heartbeat(let heartbeat): lastStamp = heartbeat.stamp
    case .snapshotRequest(let request): receive(request)
    case .grantRequest(let request): receive(request)
    case .goodbye(let goodbye):
      close(ReplicationError(.closed, "The replica said goodbye: \(goodbye.text)"))
    case .refusal(let refusal):
      if refusal.reason == .staleTerm {
        close(ReplicationError(.closed, "The replica follows a later term: \(refusal.text)"))
      } else {
        close(ReplicationError(.closed, "The replica refused this node: \(refusal.text)"))
      }
    case .hello, .welcome, .entries, .snapshotBegin, .snapshotPages, .snapshotEnd,
      .snapshotFailure, .peerHello, .peerWelcome, .peerMessage, .grantAnswer:
      violation("A replica must not send a message of type \(message.kind).")
    }
  }

  private mutating func receive(_ value: Acknowledgement) {
    guard value.progress.received <= log.sent else {
      return violation(
        "The replica acknowledges entry \(value.progress.received), \(log.sent) was sent last."
      )
    }
    guard value.progress.durable <= value.progress.received else {
      return violation("The replica has entries on stable storage that it has not received.")
    }
    guard snapshot.acknowledge(bytes: value.snapshotBytes) else {
      return violation("The replica acknowledges pages that were not sent.")
    }
    log.acknowledge(value.progress)
    advance(to: value.progress)
    let durable = value.progress.durable
    guard let name, counted != durable else { return }
    counted = durable
    outbox.append(.acknowledged(name, through: durable))
  }
}
