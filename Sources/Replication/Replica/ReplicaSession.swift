import LTX
package import Store

/// One connection to the primary, as the replica sees it: a value without I/O.
///
/// Inputs change the state; `next` then gives one directive at a time until it returns nil, and the
/// shell performs each before it asks for the next one, as with `PrimaryPeer`.
///
/// The session says `hello` with a summary of its log, does to the log what the `welcome` asks for, and
/// then hands entries and snapshot pages to the sink in the order in which they came, one piece of
/// work at a time; entries that wait are joined. When too much waits, it stops reading. Databases that
/// need repair are fetched one after the other.
package struct ReplicaSession: Sendable {
  package struct Limits: Hashable, Sendable {
    /// Bytes that may wait for the sink before the session stops reading; it goes on at half.
    /// Above the primary's windows together, so that an honest primary is never held up.
    package var queue = 16 << 20
    /// Bytes of entries that are joined into one piece of work.
    package var joined = 1 << 20
    /// Bytes of pages taken in between two acknowledgements.
    package var acknowledgedPages = 256 << 10
    /// How long a database waits after its snapshot failed; doubles up to the longest.
    package var repairDelay = Duration.seconds(1)
    package var longestRepairDelay = Duration.seconds(30)
    package init() {}
  }

  /// What this node says about itself.
  package struct Local: Hashable, Sendable {
    package var name: String
    /// Nil before this node has joined a cluster.
    package var cluster: ClusterID?
    /// The highest term seen.
    package var term: Term
    /// Ask for snapshots instead of entries.
    package var wantsReset: Bool

    package init(name: String, cluster: ClusterID?, term: Term, wantsReset: Bool) {
      self.name = name
      self.cluster = cluster
      self.term = term
      self.wantsReset = wantsReset
    }
  }

  /// A piece of work for the sink.
  package enum Work: Sendable {
    case prepare(Preparation)
    case append(LogBatch)
    case beginSnapshot(SnapshotBegin)
    case addSnapshot(String, [SnapshotPage])
    case endSnapshot(String, SnapshotEnd)
    /// The primary does not have the database that this node wants to repair.
    case dropDatabase(String)
  }

  /// What a welcome asks for.
  package struct Preparation: Hashable, Sendable {
    package var cluster: ClusterID
    /// Whether a majority belongs to the cluster.
    package var isConfirmed: Bool
    package var term: Term
    package var plan: CatchUpPlan
    package var databases: [DatabaseSummary]
  }

  package enum Directive: Sendable {
    /// Answer with `summarized`. May block.
    case summarize
    /// Send under `term`.
    case send(Message)
    /// Answer with `finished`. May block; one at a time.
    case perform(Work)
    /// Answer with `observed`. May block.
    case observe
    /// Answer with `checksums`. May block.
    case readChecksums(UInt32, database: String)
    case setReading(Bool)
    /// A snapshot failed and is tried again later.
    case repairFailed(String, ReplicationError)
    /// Hand to who asked for grants. At once.
    case grantAnswered(GrantAnswer)
    /// Send what was said, then close. The last directive.
    case close(ReplicationError)
  }

  enum Phase: Sendable { case summarizing, awaitingWelcome, preparing, streaming, closed }

  var local: Local
  let limits: Limits
  let timing: SessionTiming
  /// The names the primary's certificate carries; nil without TLS. Known once it has been heard.
  package var certifiedNames: Set<String>?

  var phase = Phase.summarizing
  var outbox: [Directive] = []
  var work = WorkQueue()
  var repair = RepairState()
  package var isWritable = true
  /// The last entry handed to the queue.
  var expected = LogIndex.zero
  /// The last entry that the primary said to be committed.
  package internal(set) var commit = LogIndex.zero
  var summary = LogSummary(first: LogIndex(1), last: .zero, terms: [])

  private let started: ContinuousClock.Instant
  /// When the primary was last heard.
  package private(set) var lastWord: ContinuousClock.Instant
  private var lastSent: ContinuousClock.Instant
  private var isReading = true
  private var isObserving = false
  private var mustObserve = false
  private var acknowledged: Acknowledgement?
  private var lastAcknowledged: ContinuousClock.Instant?
  var takenBytes: UInt64 = 0
  private var lastStamp: UInt64 = 0
  var lag = LagTracker()

  /// What both sides use; nothing before the welcome.
  package internal(set) var features: Features = []
  /// The primary's last entry at its welcome.
  package internal(set) var welcomed = LogIndex.zero
  /// The primary's name and last entry, once it said them.
  package internal(set) var primaryName: String?
  package internal(set) var primaryLast = LogIndex.zero
  /// The primary's wall clock at its last heartbeat, in milliseconds since 1970.
  package private(set) var primaryWallClock: UInt64?
  package private(set) var progress = ReplicaProgress(
    received: .zero,
    durable: .zero,
    applied: .zero,
    repairing: 0
  )

  package init(
    local: Local,
    timing: SessionTiming = SessionTiming(),
    limits: Limits = Limits(),
    now: ContinuousClock.Instant
  ) {
    self.local = local
    self.timing = timing
    self.limits = limits
    started = now
    lastWord = now
    lastSent = now
    outbox.append(.summarize)
  }

  /// The term to send under.
  package var term: Term { local.term }

  /// Nil before this node has joined a cluster.
  package var cluster: ClusterID? { local.cluster }

  package var isStreaming: Bool { phase == .streaming }
  /// Whether entries ever flowed on this connection.
  package internal(set) var hasStreamed = false

  // MARK: Inputs

  /// The answer to `.summarize`.
  package mutating func summarized(_ log: LogSummary) {
    guard phase == .summarizing else { return }
    summary = log
    phase = .awaitingWelcome
    outbox.append(
      .send(
        .hello(
          Hello(
            cluster: local.cluster,
            name: local.name,
            wantsReset: local.wantsReset,
            log: log
          )
        )
      )
    )
  }

  /// Bytes arrived, whether or not they complete a frame.
  package mutating func heard(at now: ContinuousClock.Instant) { lastWord = now }

  package mutating func receive(_ frame: Frame, at now: ContinuousClock.Instant) {
    lastWord = now
    switch (phase, frame.message) {
    case (.closed, _): return
    case (.summarizing, _): violation("The primary spoke before the hello.")
    case (.awaitingWelcome, .welcome(let welcome)): receive(welcome, term: frame.term)
    case (_, .refusal(let refusal)):
      close(
        ReplicationError(
          .refused(refusal.reason),
          "The primary refused this node: \(refusal.text)"
        )
      )
    case (_, .goodbye(let goodbye)):
      let code: ReplicationError.Code = goodbye.reason == .behind ? .behind : .closed
      close(ReplicationError(code, "The primary said goodbye: \(goodbye.text)"))
    case (.awaitingWelcome, _): violation("The answer to a hello must be a welcome.")
    case (.preparing, let message), (.streaming, let message):
      guard frame.term == local.term else {
        let text = "The primary speaks under term \(frame.term), its welcome was of \(local.term)."
        return frame.term < local.term ? refuse(.staleTerm, text) : violation(text)
      }
      receive(message, at: now)
    }
  }

  /// The answer to `.perform`.
  package mutating func finished(
    _ result: Result<SinkState, StoreError>,
    at now: ContinuousClock.Instant
  ) {
    guard let done = work.finish(), phase != .closed else { return }
    if case .addSnapshot(_, let pages) = done {
      takenBytes += UInt64(pages.reduce(0) { $0 + $1.bytes.count })
    }
    switch result {
    case .success(let state): succeeded(done, state, at: now)
    case .failure(let error): failed(done, error, at: now)
    }
    if !isReading, work.bytes <= limits.queue / 2 {
      isReading = true
      outbox.append(.setReading(true))
    }
  }

  /// The sink has got further, or a database came to need repair.
  package mutating func progressed() { mustObserve = true }

  /// The answer to `.observe`.
  package mutating func observed(_ state: SinkState, at now: ContinuousClock.Instant) {
    isObserving = false
    take(state, at: now)
  }

  package mutating func tick(at now: ContinuousClock.Instant, wallClock: UInt64) {
    switch phase {
    case .closed: return
    case .summarizing, .awaitingWelcome:
      if now - started >= timing.handshake {
        close(
          ReplicationError(
            .timeout,
            "The primary did not finish the handshake in \(timing.handshake)."
          )
        )
      }
    case .preparing, .streaming:
      // While this side does not read, the silence is its own.
      if !isReading {
        lastWord = now
      } else if now - lastWord >= timing.silence {
        return close(
          ReplicationError(.timeout, "The primary has been silent for \(timing.silence).")
        )
      }
      repairNext(at: now)
      if now - lastSent >= timing.heartbeat, isWritable {
        outbox.append(
          .send(
            .heartbeat(
              Heartbeat(
                last: progress.received,
                wallClock: wallClock,
                stamp: (now - started).nanoseconds,
                echo: lastStamp
              )
            )
          )
        )
      }
    }
  }

  /// This node stops.
  package mutating func stop() {
    if phase == .preparing || phase == .streaming {
      outbox.append(.send(.goodbye(Goodbye(reason: .stopping, text: "The node stops."))))
    }
    close(ReplicationError(.closed, "This node stops."))
  }

  // MARK: Output

  package mutating func next(at now: ContinuousClock.Instant) -> Directive? {
    guard let directive = nextDirective(at: now) else { return nil }
    if case .send = directive { lastSent = now }
    return directive
  }

  /// When there will be something to say that is not said yet; nil for nothing.
  package var nextWord: ContinuousClock.Instant? {
    guard phase == .streaming, isWritable, let lastAcknowledged else { return nil }
    let isDue = mustObserve && !isObserving || acknowledgement != acknowledged
    return isDue ? lastAcknowledged + timing.acknowledgement : nil
  }

  /// Whether somebody waits until this node has entries on stable storage.
  package var isAwaited: Bool { progress.durable > commit || expected > commit }

  private var acknowledgement: Acknowledgement {
    Acknowledgement(progress: progress, snapshotBytes: takenBytes)
  }

  private mutating func nextDirective(at now: ContinuousClock.Instant) -> Directive? {
    if !outbox.isEmpty { return outbox.removeFirst() }
    guard phase == .preparing || phase == .streaming else { return nil }
    if let item = work.start() { return .perform(item) }
    guard phase == .streaming else { return nil }
    let isEarly = lastAcknowledged.map { now - $0 < timing.acknowledgement } ?? false
    if mustObserve, !isObserving, !isEarly || isAwaited {
      mustObserve = false
      isObserving = true
      return .observe
    }
    guard isWritable else { return nil }
    if let acknowledgement = nextAcknowledgement(isEarly: isEarly) {
      lastAcknowledged = now
      return .send(.acknowledgement(acknowledgement))
    }
    return repair.nextRequest().map { .send(.snapshotRequest($0)) }
  }

  private mutating func nextAcknowledgement(isEarly: Bool) -> Acknowledgement? {
    let value = acknowledgement
    let isAwaited = self.isAwaited && progress.durable != acknowledged?.progress.durable
    guard value != acknowledged,
      !isEarly || isAwaited || takenBytes != acknowledged?.snapshotBytes
    else { return nil }
    // Pages alone are acknowledged now and then, or when no more are at hand.
    if let acknowledged, acknowledged.progress == progress, !work.isEmpty,
      takenBytes - acknowledged.snapshotBytes < UInt64(limits.acknowledgedPages)
    {
      return nil
    }
    acknowledged = value
    return value
  }

  // MARK: Shared by the aspects

  mutating func queue(_ item: Work) {
    work.add(item, joinUpTo: limits.joined)
    if isReading, work.bytes > limits.queue {
      isReading = false
      outbox.append(.setReading(false))
    }
  }

  mutating func take(_ state: SinkState, at now: ContinuousClock.Instant) {
    guard phase == .streaming else { return }
    progress = state.progress
    lag.apply(progress.applied)
    repair.update(state.repairs)
    repairNext(at: now)
  }

  mutating func noteHeartbeat(_ heartbeat: Heartbeat, at now: ContinuousClock.Instant) {
    lastStamp = heartbeat.stamp
    primaryWallClock = heartbeat.wallClock
    primaryLast = max(primaryLast, heartbeat.last)
    lag.note(heartbeat.last, at: now)
  }

  mutating func close(_ error: ReplicationError) {
    if phase == .closed { return }
    phase = .closed
    outbox.removeAll { if case .send = $0 { false } else { true } }
    outbox.append(.close(error))
  }

  mutating func refuse(_ reason: RefusalReason, _ text: String) {
    outbox.append(.send(.refusal(Refusal(reason: reason, text: text))))
    close(ReplicationError(.refused(reason), text))
  }

  mutating func violation(_ text: String) {
    outbox.append(.send(.goodbye(Goodbye(reason: .violation, text: text))))
    close(ReplicationError(.protocolViolation, text))
  }

  /// Since when the oldest entry that is known and not applied has been waiting.
  package var waitingSince: ContinuousClock.Instant? { lag.oldest }

  /// How long the oldest entry known and not applied has been waiting, or how long the primary has not
  /// been heard when that is longer than usual.
  package func lag(at now: ContinuousClock.Instant) -> Duration {
    let silence = now - lastWord
    return max(lag.lag(at: now), silence > timing.heartbeat * 2 ? silence : .zero)
  }
}
