import Replication
import Store
import Synchronization
import Testing

/// Both machines together, without I/O.
@Suite(.timeLimit(.minutes(2))) struct SessionTests {
  private func commits(_ source: FakeSource, _ count: Int, seed: UInt64, databases: Int = 2) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<count {
      source.commit(
        "db\(Int.random(in: 0..<databases, using: &random))",
        page: .random(in: 1...9, using: &random),
        fill: .random(in: 0...255, using: &random)
      )
    }
  }

  private func entries(_ terms: [UInt64], database: String = "db0") -> [FakeEntry] {
    terms.enumerated().map { offset, term in
      FakeEntry(
        id: EntryID(term: Term(term), index: LogIndex(UInt64(offset + 1))),
        database: database,
        page: UInt32(offset % 5 + 1),
        fill: UInt8(truncatingIfNeeded: UInt64(offset) * 7 + term)
      )
    }
  }

  @Test func aNewReplicaFollowsFromTheStart() {
    let source = FakeSource()
    let sink = FakeSink()
    commits(source, 50, seed: 1)
    var pair = PairSimulation(source: source, sink: sink, seed: 1, cluster: nil)
    pair.settle()
    #expect(pair.isConverged)
    #expect(pair.primary.progress.applied == LogIndex(50))
    #expect(pair.primary.name == "replica")
    #expect(pair.replica.primaryName == "primary")
    #expect(source.state.withLock { $0.needs } == ["replica": LogIndex(1)])
    pair.tick(after: .milliseconds(50))
    #expect(source.state.withLock { $0.needs } == ["replica": LogIndex(51)])
  }

  @Test func whatAReplicaHasToSayComesTogether() {
    let source = FakeSource()
    var pair = PairSimulation(source: source, sink: FakeSink(), seed: 1, cluster: nil)
    pair.settle()
    for _ in 1...20 {
      commits(source, 1, seed: 1)
      pair.primary.appended(at: pair.now)
      while pair.step() {}
    }
    #expect(pair.primary.progress.applied < LogIndex(20))
    let due = pair.replica.nextWord
    #expect(due.map { $0 - pair.now <= PairSimulation.timing.acknowledgement } == true)
    pair.settle()
    #expect(pair.primary.progress.applied == LogIndex(20))
    #expect(pair.replica.nextWord == nil)
  }

  @Test func entriesThatAreOnlyOnDiskAreRead() {
    let source = FakeSource()
    commits(source, 50, seed: 1)
    source.state.withLock { $0.recentFrom = LogIndex(40) }
    let sink = FakeSink()
    var limits = PrimaryPeer.Limits()
    limits.chunk = 100
    var pair = PairSimulation(source: source, sink: sink, seed: 1, limits: limits)
    pair.settle()
    #expect(pair.isConverged)
  }

  @Test func aReplicaTooFarBehindGetsSnapshots() {
    let source = FakeSource()
    commits(source, 60, seed: 2)
    source.state.withLock { state in
      state.log.trim(upTo: LogIndex(30))
      state.recentFrom = LogIndex(31)
    }
    let sink = FakeSink()
    sink.preload(entries([1, 1, 1]))
    sink.state.withLock { $0.databases["gone"] = FakeDatabase(pages: [1]) }
    var pair = PairSimulation(source: source, sink: sink, seed: 2)
    pair.settle()
    #expect(pair.isConverged)
    #expect(sink.state.withLock { $0.resets } == [EntryID(term: Term(1), index: LogIndex(60))])
    #expect(sink.state.withLock { $0.snapshotsInstalled } == 2)
  }

  @Test func aDivergedTailIsCutAndItsDatabasesRepaired() {
    let source = FakeSource()
    let shared = entries([1, 1, 1, 1])
    source.state.withLock { state in
      for entry in shared {
        state.log.append(entry)
        state.databases[entry.database, default: FakeDatabase()].apply(entry)
      }
      state.term = Term(3)
    }
    for page in 1...5 { source.commit("db1", page: UInt32(page), fill: 8) }
    let sink = FakeSink()
    sink.preload(shared)
    sink.preload([
      FakeEntry(
        id: EntryID(term: Term(2), index: LogIndex(5)),
        database: "db0",
        page: 3,
        fill: 200
      ),
      FakeEntry(
        id: EntryID(term: Term(2), index: LogIndex(6)),
        database: "only-here",
        page: 1,
        fill: 9
      ),
    ])
    var pair = PairSimulation(source: source, sink: sink, seed: 3, replicaTerm: Term(2))
    pair.settle()
    #expect(pair.isConverged)
    #expect(sink.state.withLock { $0.truncations } == [LogIndex(4)])
    #expect(sink.state.withLock { $0.quarantined.count } == 2)
    // Only the page that differs is sent.
    #expect(source.state.withLock { $0.pagesRead } == 1)
  }

  /// A primary that lacks databases makes nobody begin anew, nor cut a log that is more advanced than its own.
  ///
  /// - Parameters:
  ///   - term: of the replica's last entry, which in a term above the first the primary does not have.
  ///   - own: the term of the primary's last entry.
  ///   - cut: the entries that the primary has forgotten, and all of which the replica lacks.
  @Test(arguments: [(1, 1, 0, true), (2, 1, 0, false), (2, 3, 0, true), (1, 1, 30, false)])
  func aPrimaryThatLacksDatabases(
    _ term: UInt64,
    _ own: UInt64,
    _ cut: UInt64,
    _ isServed: Bool
  ) {
    let source = FakeSource()
    commits(source, 60, seed: 2)
    source.state.withLock { $0.term = Term(own) }
    commits(source, 1, seed: 3)
    source.state.withLock { state in
      state.isWhole = false
      state.log.trim(upTo: LogIndex(cut))
      state.recentFrom = LogIndex(cut + 1)
      state.term = Term(3)
    }
    let sink = FakeSink()
    let shared = source.state.withLock { Array($0.log.entries.prefix(2)) }
    if cut == 0 { sink.preload(shared) }
    if term == 2 {
      let id = EntryID(term: Term(term), index: LogIndex(3))
      sink.preload([FakeEntry(id: id, database: "db0", page: 3, fill: 200)])
    }
    let before = sink.state.withLock { ($0.databases, $0.log.last) }
    var pair = PairSimulation(source: source, sink: sink, seed: 2, replicaTerm: Term(term))
    pair.settle()
    #expect(pair.isConverged == isServed)
    #expect(pair.primaryEnd?.code == (isServed ? nil : .refused(.notPrimary)))
    if !isServed {
      #expect(sink.state.withLock { $0.databases } == before.0)
      #expect(sink.state.withLock { $0.log.last } == before.1)
    }
  }

  @Test func retentionThatOvertakesAReplicaLeadsToAReset() {
    let source = FakeSource()
    commits(source, 20, seed: 4)
    source.state.withLock { $0.recentFrom = LogIndex(100) }
    let sink = FakeSink()
    var pair = PairSimulation(source: source, sink: sink, seed: 4)
    // Up to the point at which the primary is about to read the log.
    while pair.sentKinds.isEmpty, pair.step() {}
    source.state.withLock { $0.log.trim(upTo: LogIndex(15)) }
    pair.settle()
    #expect(pair.primaryEnd?.code == .behind)
    #expect(pair.replicaEnd?.code == .behind)
    source.state.withLock { $0.recentFrom = LogIndex(16) }
    pair = PairSimulation(source: source, sink: sink, seed: 5)
    pair.settle()
    #expect(pair.isConverged)
  }

  @Test func aDatabaseThatComesToNeedRepairIsFetched() {
    let source = FakeSource()
    commits(source, 30, seed: 6)
    let sink = FakeSink()
    var pair = PairSimulation(source: source, sink: sink, seed: 6)
    pair.settle()
    sink.damage("db1")
    sink.state.withLock { $0.failNextEnd = true }
    pair.replica.progressed()
    pair.settle()
    #expect(pair.failures == ["db1"])
    #expect(!pair.isConverged)
    // It is tried again, after a while.
    for _ in 0..<15 {
      pair.tick(after: .milliseconds(100))
      pair.settle()
    }
    #expect(pair.isConverged)
    #expect(!pair.isOver)
  }

  /// The checksums of a large database take several frames.
  @Test func onlyThePagesThatDifferAreSent() {
    let source = FakeSource()
    let sink = FakeSink()
    let pages = (0..<20_000).map { UInt8(truncatingIfNeeded: $0) }
    source.state.withLock { $0.databases["big"] = FakeDatabase(pages: pages) }
    sink.state.withLock { $0.databases["big"] = FakeDatabase(pages: pages) }
    source.commit("big", page: 19_000, fill: 3)
    source.commit("big", page: 20_001, fill: 4)
    var pair = PairSimulation(source: source, sink: sink, seed: 12, wantsReset: true)
    pair.settle()
    #expect(pair.isConverged)
    #expect(pair.repliedKinds.count { $0 == .snapshotRequest } == 3)
    #expect(source.state.withLock { $0.pagesRead } == 2)
  }

  @Test func aSnapshotThatThePrimaryCannotReadIsTriedAgain() {
    let source = FakeSource()
    commits(source, 30, seed: 6)
    let sink = FakeSink()
    var pair = PairSimulation(source: source, sink: sink, seed: 6)
    pair.settle()
    source.state.withLock { $0.failSnapshots = true }
    sink.damage("db0")
    pair.replica.progressed()
    pair.settle()
    source.state.withLock { $0.failSnapshots = false }
    #expect(pair.failures == ["db0"])
    for _ in 0..<15 {
      pair.tick(after: .milliseconds(100))
      pair.settle()
    }
    #expect(pair.isConverged)
  }

  /// A long snapshot and a long log: each goes on while the other does.
  @Test func snapshotPagesAndEntriesTakeTurns() {
    let source = FakeSource()
    for page in 1...200 { source.commit("big", page: UInt32(page), fill: 1) }
    let sink = FakeSink()
    var limits = PrimaryPeer.Limits()
    limits.chunk = 2_048
    var pair = PairSimulation(source: source, sink: sink, seed: 7, wantsReset: true, limits: limits)
    // One commit an event: the log always has something to send.
    var commits = 0
    while pair.step(), commits < 3_000 {
      if sink.state.withLock({ $0.snapshotsInstalled }) == 0 {
        source.commit("other", page: 1, fill: UInt8(truncatingIfNeeded: commits), ballast: 1_500)
        pair.primary.appended(at: pair.now)
        commits += 1
      }
    }
    pair.settle()
    #expect(pair.isConverged)
    #expect(commits < 3_000)
    let kinds = pair.sentKinds
    guard let first = kinds.firstIndex(of: .snapshotPages),
      let last = kinds.lastIndex(of: .snapshotPages)
    else {
      Issue.record("no pages were sent")
      return
    }
    let between = kinds[first...last]
    let pages = between.count { $0 == .snapshotPages }
    let entries = between.count { $0 == .entries }
    #expect(pages >= 50)
    #expect(entries >= pages / 2)
  }

  @Test func theWindowBoundsWhatIsInFlight() {
    let source = FakeSource()
    for _ in 0..<100 { source.commit("db", page: 1, fill: 1, ballast: 10_000) }
    let sink = FakeSink()
    var limits = PrimaryPeer.Limits()
    limits.logWindow = 50_000
    limits.chunk = 10_000
    var pair = PairSimulation(source: source, sink: sink, seed: 8, limits: limits)
    pair.wantsReading = false
    while pair.step() {}
    pair.wantsReading = true
    // Nothing but the welcome and a window's worth of entries was sent before the first answer.
    pair.settle()
    #expect(pair.isConverged)

    pair = PairSimulation(source: source, sink: FakeSink(), seed: 8, limits: limits)
    while !pair.sentKinds.contains(.entries), pair.step() {}
    pair.wantsReading = false
    while pair.step() {}
    #expect(pair.toReplica.reduce(0) { $0 + $1.count } < 50_000 + 2 * 10_100)
  }

  @Test func aSlowSinkStopsTheReading() {
    let source = FakeSource()
    for _ in 0..<100 { source.commit("db", page: 1, fill: 1, ballast: 10_000) }
    let sink = FakeSink()
    var limits = ReplicaSession.Limits()
    limits.queue = 60_000
    limits.joined = 25_000
    var window = PrimaryPeer.Limits()
    window.chunk = 10_000
    var pair = PairSimulation(
      source: source,
      sink: sink,
      seed: 9,
      limits: window,
      replicaLimits: limits
    )
    while !pair.replica.isStreaming, pair.step() {}
    // Frames arrive, the sink does nothing.
    while pair.wantsReading, !pair.toReplica.isEmpty {
      let answers = pair.replicaAnswers
      pair.replicaAnswers = []
      _ = pair.step()
      pair.replicaAnswers = answers + pair.replicaAnswers
    }
    #expect(!pair.wantsReading)
    // While it does not read, the silence of the primary is not held against it.
    for _ in 0..<8 { pair.replica.tick(at: pair.now + .seconds(10), wallClock: 0) }
    #expect(pair.replicaEnd == nil)
    pair.settle()
    #expect(pair.isConverged)
    #expect(pair.wantsReading)
    // Waiting entries were joined.
    #expect(sink.state.withLock { $0.batches } < 80)
  }

  /// Cuts, commits, trims and damage by chance: what was received is always a prefix of the primary's
  /// log, and in the end both are equal.
  @Test(arguments: 0..<30) func anyHistoryConverges(seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let source = FakeSource()
    let sink = FakeSink()
    commits(source, .random(in: 0...40, using: &random), seed: UInt64(seed))
    var limits = PrimaryPeer.Limits()
    limits.chunk = .random(in: 60...3_000, using: &random)
    limits.logWindow = .random(in: 100...5_000, using: &random)
    limits.snapshotWindow = .random(in: 512...4_096, using: &random)
    var fresh = 0
    func pair() -> PairSimulation {
      fresh += 1
      return PairSimulation(
        source: source,
        sink: sink,
        seed: UInt64(seed * 1_000 + fresh),
        limits: limits
      )
    }
    var current = pair()
    for step in 0..<400 {
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<60: _ = current.step()
      case 60..<90:
        source.commit(
          "db\(Int.random(in: 0..<3, using: &random))",
          page: .random(in: 1...9, using: &random),
          fill: .random(in: 0...255, using: &random)
        )
        current.primary.appended(at: current.now)
      case 90..<93: current = pair()
      case 93..<96:
        let last = source.logSummary().last.index.rawValue
        source.state.withLock { state in
          state.log.trim(upTo: LogIndex(.random(in: 0...last, using: &random)))
          state.recentFrom = LogIndex(
            .random(in: state.log.base.index.rawValue...last + 1, using: &random)
          )
        }
      case 96..<98:
        if sink.state.withLock({ $0.databases["db0"] }) != nil {
          sink.damage("db0")
          current.replica.progressed()
        }
      default: current.tick(after: .milliseconds(300))
      }
      if current.isOver { current = pair() }
      guard step.isMultiple(of: 20) else { continue }
      let mine = sink.state.withLock { $0.log.entries }
      let theirs = source.state.withLock { $0.log.entries }
      for entry in mine {
        if let same = theirs.first(where: { $0.id == entry.id }) {
          #expect(same == entry, "seed \(seed)")
        }
      }
    }
    for _ in 0..<50 where !current.isConverged {
      current.tick(after: .milliseconds(300))
      current.primary.appended(at: current.now)
      current.settle()
      if current.isOver { current = pair() }
    }
    #expect(current.isConverged, "seed \(seed)")
  }
}
