import Store

/// One connection between two voters, as either of them sees it: a value without I/O.
///
/// Voters elect the primary, so they must reach each other when there is none. Each dials every other
/// one, on the port that replicas dial too, and says what it has to say on the connection that it
/// dialled; what the other says comes on the other's. So no two connections have to be sorted out as one,
/// and one that fails in one direction only fails alone.
///
/// The dialling side says `peerHello`, the accepting side checks it and answers `peerWelcome` or
/// `refusal`. Then the dialling side sends messages whenever it has any, and both sides heartbeats.
/// Messages may be lost, with a connection or where it takes no more bytes, which an election bears;
/// they are never repeated, and those of one connection keep their order.
///
/// Inputs change the state; `next` then gives one directive at a time until it returns nil, and the
/// shell performs each before it asks for the next one, as with `PrimaryPeer`.
package struct PeerSession: Sendable {
  package enum Side: Hashable, Sendable {
    /// The voters that may connect.
    case accepting(voters: Set<String>)
    /// The voter that was dialled.
    case dialling(voter: String)
  }

  /// What this node says about itself.
  package struct Local: Hashable, Sendable {
    package var name: String
    /// Nil before this node has joined a cluster.
    package var cluster: ClusterID?

    package init(name: String, cluster: ClusterID?) {
      self.name = name
      self.cluster = cluster
    }
  }

  package enum Directive: Sendable {
    case send(Message)
    /// The other side's word, for this node's election.
    case deliver([UInt8], from: String)
    /// Send what was said, then close. The last directive.
    case close(ReplicationError)
  }

  enum Phase: Sendable { case awaitingHello, awaitingWelcome, open, closed }

  let side: Side
  var local: Local
  let timing: SessionTiming
  /// The names the peer's certificate carries; nil without TLS. Known once it has been heard.
  package var certifiedNames: Set<String>?

  var phase: Phase
  var outbox: [Directive] = []
  /// Whether the connection takes more bytes.
  package var isWritable = true

  private let started: ContinuousClock.Instant
  private var lastHeard: ContinuousClock.Instant
  private var lastSent: ContinuousClock.Instant
  private var lastStamp: UInt64 = 0
  /// The peer's cluster as it said at the beginning; nil when it had none.
  var peerCluster: ClusterID?
  /// The peer, once the two have agreed to talk.
  package internal(set) var name: String?
  /// What both sides use; nothing before they have agreed.
  package internal(set) var features: Features = []

  package init(
    _ side: Side,
    local: Local,
    certifiedNames: Set<String>? = nil,
    timing: SessionTiming = SessionTiming(),
    now: ContinuousClock.Instant
  ) {
    self.side = side
    self.local = local
    self.certifiedNames = certifiedNames
    self.timing = timing
    started = now
    lastHeard = now
    lastSent = now
    switch side {
    case .accepting: phase = .awaitingHello
    case .dialling:
      phase = .awaitingWelcome
      let hello = PeerHello(cluster: local.cluster, name: local.name)
      outbox.append(.send(.peerHello(hello)))
    }
  }

  /// Whether the two have agreed to talk and still do.
  package var isOpen: Bool { phase == .open }

  // MARK: Inputs

  /// Bytes arrived, whether or not they complete a frame.
  package mutating func heard(at now: ContinuousClock.Instant) { lastHeard = now }

  package mutating func receive(_ message: Message, at now: ContinuousClock.Instant) {
    lastHeard = now
    switch (phase, message) {
    case (.closed, _): return
    case (.awaitingHello, .peerHello(let hello)): receive(hello)
    case (.awaitingHello, _):
      refuse(.malformed, "The first message of a voter must be a hello.")
    case (_, .refusal(let refusal)):
      let text = "The voter refused this node: \(refusal.text)"
      // To the accepting side a refusal is no more than the end: nothing of its own was refused.
      if case .accepting = side { return close(ReplicationError(.closed, text)) }
      close(ReplicationError(.refused(refusal.reason), text))
    case (_, .goodbye(let goodbye)):
      close(ReplicationError(.closed, "The voter said goodbye: \(goodbye.text)"))
    case (.awaitingWelcome, .peerWelcome(let welcome)): receive(welcome)
    case (.awaitingWelcome, _): violation("The answer to a voter's hello must be a welcome.")
    case (.open, .heartbeat(let heartbeat)): lastStamp = heartbeat.stamp
    case (.open, .peerMessage(let bytes)): receive(bytes)
    case (.open, _): violation("A voter must not send a message of type \(message.kind).")
    }
  }

  private mutating func receive(_ bytes: [UInt8]) {
    guard case .accepting = side, let name else {
      return violation("A voter must speak on the connection that it dialled.")
    }
    outbox.append(.deliver(bytes, from: name))
  }

  /// Sends a message to the other side; drops it unless it can be sent now.
  ///
  /// - Precondition: This side dialled, and the message is at most `WireLimit.peerMessage` bytes long.
  package mutating func send(_ bytes: [UInt8]) {
    guard case .dialling = side else { preconditionFailure("this side only listens") }
    guard isOpen, isWritable else { return }
    outbox.append(.send(.peerMessage(bytes)))
  }

  /// Time has passed.
  ///
  /// - Parameter cluster: This node's cluster now: it may join one while it talks.
  package mutating func tick(
    at now: ContinuousClock.Instant,
    cluster: ClusterID?,
    wallClock: UInt64
  ) {
    switch phase {
    case .closed: return
    case .awaitingHello, .awaitingWelcome:
      guard now - started >= timing.handshake else { return }
      let text = "The voter did not finish its handshake in \(timing.handshake)."
      if case .accepting = side { return close(ReplicationError(.refused(.halfOpen), text)) }
      close(ReplicationError(.timeout, text))
    case .open:
      local.cluster = cluster
      if let cluster, let peerCluster, cluster != peerCluster {
        refuse(.otherCluster, Introduction.otherCluster(.voter, of: peerCluster, own: cluster))
      } else if now - lastHeard >= timing.silence {
        close(ReplicationError(.timeout, "The voter has been silent for \(timing.silence)."))
      } else if now - lastSent >= timing.heartbeat, isWritable {
        outbox.append(.send(.heartbeat(heartbeat(at: now, wallClock: wallClock))))
      }
    }
  }

  /// This node ends the conversation.
  package mutating func stop(_ reason: Goodbye.Reason) {
    let text =
      reason == .replaced ? "A newer connection of this node took over." : "The node stops."
    if isOpen { say(reason, text) }
    close(ReplicationError(.closed, text))
  }

  /// The peer sent bytes that are not a frame.
  package mutating func malformed(_ error: ReplicationError) {
    if phase == .awaitingHello {
      close(ReplicationError(.refused(.malformed), error.message))
    } else {
      violation(error.message)
    }
  }

  // MARK: Output

  package mutating func next(at now: ContinuousClock.Instant) -> Directive? {
    if outbox.isEmpty { return nil }
    let directive = outbox.removeFirst()
    if case .send = directive { lastSent = now }
    return directive
  }

  // MARK: Shared by the aspects

  mutating func close(_ error: ReplicationError) {
    if phase == .closed { return }
    phase = .closed
    outbox.append(.close(error))
  }

  mutating func refuse(_ reason: RefusalReason, _ text: String) {
    if phase == .closed { return }
    outbox.append(.send(.refusal(Refusal(reason: reason, text: text))))
    close(ReplicationError(.refused(reason), text))
  }

  mutating func violation(_ text: String) {
    say(.violation, text)
    close(ReplicationError(.protocolViolation, text))
  }

  private mutating func say(_ reason: Goodbye.Reason, _ text: String) {
    if phase == .closed { return }
    outbox.append(.send(.goodbye(Goodbye(reason: reason, text: text))))
  }

  private func heartbeat(at now: ContinuousClock.Instant, wallClock: UInt64) -> Heartbeat {
    // There is no log between voters, and thus no last entry.
    Heartbeat(
      last: .zero,
      wallClock: wallClock,
      stamp: (now - started).nanoseconds,
      echo: lastStamp
    )
  }
}
