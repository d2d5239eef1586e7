package import LTX
package import Store

/// One connected replica, as the primary sees it: a value without I/O.
///
/// Inputs (`receive`, `appended`, `tick`, and the answers to what was asked for) change the state;
/// `next` then says, one directive at a time, what to do about it, until it returns nil. The shell
/// performs each directive before it asks for the next one.
///
/// The life of a connection: `hello` is checked and answered with `welcome` and a plan (see
/// `CatchUpPlan`) or with `refusal`. Then entries are sent as long as the bytes that the replica has not
/// acknowledged stay within a window, and the pages of at most one snapshot within a window of their
/// own. When both wait, they take turns of about the same size, so that neither starves. The end of a
/// snapshot is sent after the entries that it needs.
package struct PrimaryPeer: Sendable {
  package struct Limits: Hashable, Sendable {
    /// Bytes of entries sent and not acknowledged: 8 MiB fill 1 Gbit/s at a round trip of 60 ms.
    package var logWindow = 8 << 20
    /// Bytes of pages sent and not taken in: what a commit may have to wait behind, 16 ms at
    /// 1 Gbit/s. It fills 1 Gbit/s at a round trip of 16 ms.
    package var snapshotWindow = 2 << 20
    /// Bytes of a turn.
    package var chunk = 256 << 10
    package init() {}
  }

  /// What this node says about itself.
  package struct Local: Hashable, Sendable {
    package var name: String
    /// Nil before this node has joined a cluster; then it is not the primary either.
    package var cluster: ClusterID?
    /// Nil when this node is not the primary.
    package var term: Term?
    /// Where the primary is, as "host:port", for a replica that asks the wrong node; nil when unknown.
    package var primary: String?
    /// What this node is willing to use.
    package var features: Features

    package init(
      name: String,
      cluster: ClusterID?,
      term: Term?,
      primary: String? = nil,
      features: Features = .supported
    ) {
      self.name = name
      self.cluster = cluster
      self.term = term
      self.primary = primary
      self.features = features
    }
  }

  package enum Directive: Sendable {
    /// Send under `term`.
    case send(Message)
    /// End whatever was lent to the replica, which has this name, before, then answer with `summarized`. May block.
    case summarize(String)
    /// Answer with `recent`, at once.
    case recent(from: LogIndex, maxBytes: Int)
    /// Answer with `read`. May block.
    case readLog(from: LogIndex, maxBytes: Int)
    /// Answer with `opened`. May block.
    case openSnapshot(UInt32, database: String, checksums: [Checksum])
    /// Answer with `pages`. May block.
    case readSnapshot(UInt32, maxBytes: Int)
    /// Answer with `ended`. May block.
    case endSnapshot(UInt32)
    case dropSnapshot(UInt32)
    /// Tell who waits for a majority. At once.
    case acknowledged(String, through: LogIndex)
    /// Hand to who gives grants; what he says comes by `answer`. At once.
    case grant(GrantRequest)
    /// Tell retention. May block.
    case noteReplica(String, needs: LogIndex)
    /// The peer has seen a term above this node's.
    case higherTerm(Term)
    /// Send what was said, then close. The last directive.
    case close(ReplicationError)
  }

  enum Phase: Sendable {
    case awaitingHello
    case summarizing(Hello, ClusterID)
    case streaming
    case closed
  }

  let local: Local
  let limits: Limits
  let timing: SessionTiming
  /// The names the peer's certificate carries; nil without TLS.
  let certifiedNames: Set<String>?

  var phase = Phase.awaitingHello
  /// Messages and directives that wait for nothing.
  var outbox: [Directive] = []
  var log: LogSender
  var snapshot = SnapshotSender()
  var lastWasSnapshot = false
  /// What both sides use; nothing before the peer is admitted.
  package internal(set) var features: Features = []
  /// Whether the connection takes more bytes.
  package var isWritable = true

  private let started: ContinuousClock.Instant
  private var lastHeard: ContinuousClock.Instant
  private var lastSent: ContinuousClock.Instant
  private var notedNeed: LogIndex?
  /// The last entry that the replica was counted with.
  var counted: LogIndex?
  var lastStamp: UInt64 = 0

  /// The name in the peer's hello; nil before it is admitted.
  package private(set) var name: String?
  package private(set) var progress = ReplicaProgress(
    received: .zero,
    durable: .zero,
    applied: .zero,
    repairing: 0
  )

  package init(
    local: Local,
    certifiedNames: Set<String>?,
    timing: SessionTiming = SessionTiming(),
    limits: Limits = Limits(),
    now: ContinuousClock.Instant
  ) {
    self.local = local
    self.certifiedNames = certifiedNames
    self.timing = timing
    self.limits = limits
    log = LogSender(window: limits.logWindow)
    started = now
    lastHeard = now
    lastSent = now
  }

  /// The term to send under.
  package var term: Term { local.term ?? .zero }

  package var isStreaming: Bool {
    if case .streaming = phase { return true }
    return false
  }

  /// Whether the replica has acknowledged all that was sent.
  package var hasEverything: Bool { isStreaming && log.inFlight == 0 }

  // MARK: Inputs

  /// Bytes arrived, whether or not they complete a frame.
  package mutating func heard(at now: ContinuousClock.Instant) { lastHeard = now }

  /// The log has grown.
  package mutating func appended(at now: ContinuousClock.Instant) { log.appended(at: now) }

  package mutating func receive(_ frame: Frame, at now: ContinuousClock.Instant) {
    lastHeard = now
    switch (phase, frame.message) {
    case (.closed, _): return
    case (.awaitingHello, .hello(let hello)): receive(hello, term: frame.term)
    case (.awaitingHello, _):
      refuse(.malformed, "The first message of a replica must be a hello.")
    case (.summarizing, _): violation("A message came before the handshake was over.")
    case (.streaming, let message):
      guard check(frame.term) else { return }
      receive(message, at: now)
    }
  }

  /// Time has passed.
  ///
  /// - Parameter term: This node's term now; nil when it is no longer the primary.
  package mutating func tick(at now: ContinuousClock.Instant, term: Term?, wallClock: UInt64) {
    switch phase {
    case .closed: return
    case .awaitingHello, .summarizing:
      if now - started >= timing.handshake {
        close(
          ReplicationError(
            .refused(.halfOpen),
            "The peer did not finish its handshake in \(timing.handshake)."
          )
        )
      }
    case .streaming:
      if term != local.term {
        say(.newTerm, "This node's term changed.", code: .closed)
      } else if now - lastHeard >= timing.silence {
        close(ReplicationError(.timeout, "The replica has been silent for \(timing.silence)."))
      } else {
        noteNeed()
        if now - lastSent >= timing.heartbeat, isWritable {
          outbox.append(.send(.heartbeat(heartbeat(at: now, wallClock: wallClock))))
        }
      }
    }
  }

  /// This node ends the session.
  package mutating func stop(_ reason: Goodbye.Reason) {
    let text =
      switch reason {
      case .replaced: "A newer connection of this node took over."
      case .newTerm: "This node's term changed."
      case .stopping, .behind, .violation, .failure: "The node stops."
      }
    if isStreaming {
      say(reason, text, code: .closed)
    } else {
      close(ReplicationError(.closed, text))
    }
  }

  // MARK: Output

  package mutating func next(at now: ContinuousClock.Instant) -> Directive? {
    guard let directive = nextDirective(at: now) else { return nil }
    if case .send = directive { lastSent = now }
    return directive
  }

  private mutating func nextDirective(at now: ContinuousClock.Instant) -> Directive? {
    if !outbox.isEmpty { return outbox.removeFirst() }
    guard isStreaming, isWritable else { return nil }
    if let directive = snapshot.nextRead(limits: limits) { return directive }
    if let end = snapshot.takeEnd(sent: log.sent) { return .send(end) }
    let hasLog = log.isReady
    let hasPages = snapshot.hasPages
    if hasPages, !hasLog || !lastWasSnapshot {
      lastWasSnapshot = true
      return snapshot.takePages().map { .send($0) }
    }
    if hasLog {
      lastWasSnapshot = false
      return log.ask(maxBytes: limits.chunk)
    }
    return nil
  }

  // MARK: Shared by the aspects

  mutating func close(_ error: ReplicationError) {
    if case .closed = phase { return }
    phase = .closed
    // Whatever would be answered is of no use any more.
    outbox.removeAll { directive in
      switch directive {
      case .send, .dropSnapshot, .noteReplica, .higherTerm, .close: false
      case .acknowledged, .grant, .summarize, .recent, .readLog, .openSnapshot, .readSnapshot,
        .endSnapshot:
        true
      }
    }
    if let id = snapshot.stop() { outbox.append(.dropSnapshot(id)) }
    outbox.append(.close(error))
  }

  mutating func refuse(_ reason: RefusalReason, _ text: String) {
    outbox.append(.send(.refusal(Refusal(reason: reason, text: text))))
    close(ReplicationError(.refused(reason), text))
  }

  mutating func say(_ reason: Goodbye.Reason, _ text: String, code: ReplicationError.Code) {
    outbox.append(.send(.goodbye(Goodbye(reason: reason, text: text))))
    close(ReplicationError(code, text))
  }

  mutating func violation(_ text: String) {
    say(.violation, text, code: .protocolViolation)
  }

  /// A lower term is refused, a higher one says that this node's time is over.
  private mutating func check(_ term: Term) -> Bool {
    if term == self.term { return true }
    if term > self.term {
      outbox.append(.higherTerm(term))
      refuse(.staleTerm, "Term \(term) has begun; this primary is of term \(self.term).")
    } else {
      refuse(.staleTerm, "The replica speaks under term \(term), which \(self.term) has ended.")
    }
    return false
  }

  mutating func admit(_ name: String, start: LogIndex) {
    self.name = name
    phase = .streaming
    log.start(after: start)
    progress = ReplicaProgress(received: start, durable: start, applied: .zero, repairing: 0)
    noteNeed()
  }

  mutating func advance(to progress: ReplicaProgress) { self.progress = progress }

  /// What the replica could lose in a crash it will need again, so its durable entries count.
  private mutating func noteNeed() {
    guard let name, notedNeed != progress.durable.next else { return }
    notedNeed = progress.durable.next
    outbox.append(.noteReplica(name, needs: progress.durable.next))
  }

  private func heartbeat(at now: ContinuousClock.Instant, wallClock: UInt64) -> Heartbeat {
    Heartbeat(
      last: log.known,
      wallClock: wallClock,
      stamp: (now - started).nanoseconds,
      echo: lastStamp
    )
  }
}

extension Duration {
  /// Whole nanoseconds; zero for a negative duration.
  var nanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return UInt64(seconds) &* 1_000_000_000 &+ UInt64(attoseconds / 1_000_000_000)
  }
}
