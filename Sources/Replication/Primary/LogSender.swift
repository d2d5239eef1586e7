import Store

/// The stream of entries to one replica: what was sent, what is in flight, what waits.
struct LogSender: Sendable {
  private struct Flight {
    var last: LogIndex
    var bytes: Int
  }

  /// The last entry sent.
  private(set) var sent = LogIndex.zero
  /// The last commit index that the replica was told.
  private var told = LogIndex.zero
  /// The last entry known to exist.
  private(set) var known = LogIndex.zero
  private(set) var inFlight = 0
  private let window: Int
  private var flights: [Flight] = []
  /// Flights before this one have landed.
  private var head = 0
  /// Whether entries after `sent` may exist.
  private var mayHaveMore = false
  private var isReading = false
  /// Since when an entry waits to be sent.
  private var waitingSince: ContinuousClock.Instant?
  private var lag = LagTracker()

  init(window: Int) { self.window = window }

  var isReady: Bool { mayHaveMore && !isReading && inFlight < window }

  mutating func start(after index: LogIndex) {
    sent = index
    known = index
    mayHaveMore = true
  }

  mutating func learn(_ last: LogIndex) { known = max(known, last) }

  mutating func appended(at now: ContinuousClock.Instant) {
    mayHaveMore = true
    if waitingSince == nil { waitingSince = now }
  }

  mutating func ask(maxBytes: Int) -> PrimaryPeer.Directive {
    .recent(from: sent.next, maxBytes: maxBytes)
  }

  /// Everything known is sent.
  mutating func foundNothing() {
    mayHaveMore = false
    waitingSince = nil
  }

  /// Whether the replica is to be told that everything up to this entry is committed: it has some of it and does
  /// not know.
  func tells(_ commit: LogIndex) -> Bool { min(commit, sent) > told }

  /// No entries, and what is committed.
  mutating func notice(of commit: LogIndex) -> LogBatch {
    told = commit
    return LogBatch(first: sent.next, last: sent, bytes: [], commit: commit)
  }

  mutating func beganReading() { isReading = true }
  mutating func endedReading() { isReading = false }

  mutating func sending(_ batch: LogBatch, at now: ContinuousClock.Instant) {
    sent = batch.last
    told = max(told, batch.commit)
    learn(batch.last)
    inFlight += batch.bytes.count
    flights.append(Flight(last: batch.last, bytes: batch.bytes.count))
    lag.note(batch.last, at: waitingSince ?? now)
    // What is left, if anything, has waited no longer than this batch did.
    if waitingSince != nil { waitingSince = now }
  }

  mutating func acknowledge(_ progress: ReplicaProgress) {
    while head < flights.count, flights[head].last <= progress.received {
      inFlight -= flights[head].bytes
      head += 1
    }
    if head == flights.count {
      flights.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= Self.compactionThreshold {
      flights.removeFirst(head)
      head = 0
    }
    lag.apply(progress.applied)
  }

  /// Landed flights before the array is compacted.
  private static let compactionThreshold = 512

  /// How long the oldest entry that the replica has not applied has been waiting.
  func lag(at now: ContinuousClock.Instant) -> Duration {
    max(lag.lag(at: now), waitingSince.map { now - $0 } ?? .zero)
  }
}
