import NIOCore
import Replication
import Store
import Synchronization

/// A primary's and a replica's machine with fakes behind them, driven by one seed: frames and answers
/// of blocking calls arrive in an order of chance (each kind in its own order), and time is a number.
struct PairSimulation {
  let source: FakeSource
  let sink: FakeSink
  var random: SeededGenerator
  var now = ContinuousClock.now
  var primary: PrimaryPeer
  var replica: ReplicaSession
  /// Frames on the way, encoded.
  var toReplica: [[UInt8]] = []
  var toPrimary: [[UInt8]] = []
  var snapshot: (id: UInt32, source: any SnapshotSource)?
  var primaryAnswers: [(inout PairSimulation) -> Void] = []
  var replicaAnswers: [(inout PairSimulation) -> Void] = []
  var primaryEnd: ReplicationError?
  var replicaEnd: ReplicationError?
  var wantsReading = true
  var sentKinds: [Message.Kind] = []
  var repliedKinds: [Message.Kind] = []
  /// What came to who gives grants, and what came back to who asked.
  var grantRequests: [GrantRequest] = []
  var grantAnswers: [GrantAnswer] = []
  /// Names of databases whose snapshot failed.
  var failures: [String] = []

  static let timing = SessionTiming()

  init(
    source: FakeSource,
    sink: FakeSink,
    seed: UInt64,
    replicaName: String = "replica",
    certified: Set<String>? = nil,
    cluster: ClusterID? = Samples.cluster,
    replicaTerm: Term = .zero,
    wantsReset: Bool = false,
    features: Features = .supported,
    limits: PrimaryPeer.Limits = PrimaryPeer.Limits(),
    replicaLimits: ReplicaSession.Limits = ReplicaSession.Limits()
  ) {
    self.source = source
    self.sink = sink
    random = SeededGenerator(seed: seed)
    primary = PrimaryPeer(
      local: PrimaryPeer.Local(
        name: "primary",
        cluster: Samples.cluster,
        term: source.state.withLock { $0.term },
        features: features
      ),
      certifiedNames: certified,
      timing: Self.timing,
      limits: limits,
      now: now
    )
    replica = ReplicaSession(
      local: ReplicaSession.Local(
        name: replicaName,
        cluster: cluster,
        term: replicaTerm,
        wantsReset: wantsReset
      ),
      timing: Self.timing,
      limits: replicaLimits,
      now: now
    )
  }

  var isOver: Bool { primaryEnd != nil || replicaEnd != nil }

  /// Runs until nothing is on its way, nor held back for a moment.
  mutating func settle(maxSteps: Int = 100_000) {
    for _ in 0..<maxSteps where !step() {
      guard replicaEnd == nil, let word = replica.nextWord, word > now else { return }
      now = word
    }
  }

  /// One event; false when there is none.
  mutating func step() -> Bool {
    pump()
    var choices: [Int] = []
    if !toReplica.isEmpty, replicaEnd == nil, wantsReading { choices.append(0) }
    if !toPrimary.isEmpty, primaryEnd == nil { choices.append(1) }
    if !primaryAnswers.isEmpty { choices.append(2) }
    if !replicaAnswers.isEmpty { choices.append(3) }
    guard let choice = choices.randomElement(using: &random) else { return false }
    switch choice {
    case 0: if let frame = decode(toReplica.removeFirst()) { replica.receive(frame, at: now) }
    case 1: if let frame = decode(toPrimary.removeFirst()) { primary.receive(frame, at: now) }
    case 2: primaryAnswers.removeFirst()(&self)
    default: replicaAnswers.removeFirst()(&self)
    }
    pump()
    return true
  }

  mutating func tick(after duration: Duration) {
    now += duration
    let term = source.state.withLock { $0.term }
    primary.tick(at: now, term: term, wallClock: 0)
    replica.tick(at: now, wallClock: 0)
    pump()
  }

  private func decode(_ bytes: [UInt8]) -> Frame? {
    var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
    decoder.append(ByteBuffer(bytes: bytes))
    return try? decoder.next()
  }

  mutating func pump() {
    while let directive = primary.next(at: now) { perform(directive) }
    while let directive = replica.next(at: now) { perform(directive) }
  }

  private mutating func perform(_ directive: PrimaryPeer.Directive) {
    switch directive {
    case .send(let message):
      sentKinds.append(message.kind)
      toReplica.append(Samples.bytes(of: Frame(term: primary.term, message: message)))
    case .summarize:
      primaryAnswers.append { simulation in
        let log = simulation.source.logSummary()
        simulation.primary.summarized(
          log: log,
          databases: simulation.source.databases(),
          isWhole: simulation.source.isWhole
        )
      }
    case .recent(let first, let maxBytes):
      primary.recent(source.recent(from: first, maxBytes: maxBytes), at: now)
    case .readLog(let first, let maxBytes):
      primaryAnswers.append { simulation in
        let source = simulation.source
        simulation.primary.read(
          Result { () throws(StoreError) in try source.read(from: first, maxBytes: maxBytes) },
          at: simulation.now
        )
      }
    case .openSnapshot(let id, let database, let checksums):
      primaryAnswers.append { simulation in
        let source = simulation.source
        let opened = Result { () throws(StoreError) in
          try source.openSnapshot(of: database, checksums: checksums)
        }
        if case .success(let snapshot) = opened { simulation.snapshot = (id, snapshot) }
        simulation.primary.opened(id, opened.map(\.begin))
      }
    case .readSnapshot(let id, let maxBytes):
      primaryAnswers.append { simulation in
        guard let snapshot = simulation.snapshot, snapshot.id == id else { return }
        simulation.primary.pages(
          id,
          Result { () throws(StoreError) in try snapshot.source.next(maxBytes: maxBytes) }
        )
      }
    case .endSnapshot(let id):
      primaryAnswers.append { simulation in
        guard let snapshot = simulation.snapshot, snapshot.id == id else { return }
        simulation.primary.ended(id, Result { () throws(StoreError) in try snapshot.source.end() })
      }
    case .dropSnapshot(let id): if snapshot?.id == id { snapshot = nil }
    case .acknowledged(let name, let index): source.acknowledged(by: name, through: index)
    case .grant(let request): grantRequests.append(request)
    case .noteReplica(let name, let needs): source.noteReplica(name, needs: needs)
    case .higherTerm: break
    case .close(let error): primaryEnd = error
    }
  }

  private mutating func perform(_ directive: ReplicaSession.Directive) {
    switch directive {
    case .summarize:
      replicaAnswers.append { $0.replica.summarized($0.sink.logSummary()) }
    case .send(let message):
      repliedKinds.append(message.kind)
      toPrimary.append(Samples.bytes(of: Frame(term: replica.term, message: message)))
    case .perform(let work):
      replicaAnswers.append { simulation in
        let sink = simulation.sink
        simulation.replica.finished(
          Result { () throws(StoreError) in try work.perform(on: sink) },
          at: simulation.now
        )
      }
    case .observe:
      replicaAnswers.append { $0.replica.observed(SinkState($0.sink), at: $0.now) }
    case .readChecksums(let id, let database):
      replicaAnswers.append { simulation in
        let sink = simulation.sink
        simulation.replica.checksums(
          id,
          Result { () throws(StoreError) in try sink.snapshotChecksums(of: database) },
          at: simulation.now
        )
      }
    case .setReading(let isReading): wantsReading = isReading
    case .repairFailed(let database, _): failures.append(database)
    case .grantAnswered(let answer): grantAnswers.append(answer)
    case .close(let error): replicaEnd = error
    }
  }

  /// The databases of both sides are equal and nothing waits for repair.
  var isConverged: Bool {
    let primary = source.state.withLock { ($0.databases, $0.log.last) }
    return sink.state.withLock { state in
      state.databases == primary.0 && state.log.last == primary.1 && state.repairs.isEmpty
    }
  }
}
