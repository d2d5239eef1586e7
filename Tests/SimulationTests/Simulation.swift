@testable import Lease

/// A cluster of elections and logs in one process, in a world that is made from one number.
///
/// Each node has a clock of its own that is wrong by up to a few percent, a disk that loses at a
/// crash what was not waited for, and a network that loses, delays, repeats and reorders. After each
/// event the invariants of `Simulation+Checks` are looked at. In the end all faults are mended and a
/// leader must be there soon.
///
/// In half of the worlds the log is the least that makes the rules of the election matter: entries go
/// from the primary to the others and are committed once a majority has them on stable storage
/// (Ongaro's dissertation, sections 3.5 and 3.6). In the others (`isWhole`) the machines of replication
/// carry entries and pages of several databases, `CommitIndex` counts, and the store is simulated: it
/// applies what is committed, forgets old entries, has pages damaged, and fetches what it lacks. In half of
/// these clients of replicas write under grants, and read what was committed before they came.
struct Simulation {
  /// Of a lease, in microseconds.
  static let ttl = 1_000_000
  /// Parts per million that a clock may be wrong by. Two that are wrong in opposite directions stay
  /// just within the margin of a tenth.
  static let maximumDrift = 45_000
  /// Leases that pass at most before there is a leader once everything works.
  static let patience = 10
  static let keptHistory = 400
  /// The contents that transactions of replicas write begin here.
  static let forwarded = 1 << 30

  let seed: UInt64
  let defect: Defect?
  /// Leases are ignored by the log, so that the fence alone protects it.
  let isLeaseIgnored: Bool
  /// Writes to the disk may fail.
  let isDiskFailing: Bool
  /// Of minor faults only, none of which may unseat a leader.
  let isCalm: Bool
  /// Of faults that come when and where they hurt most.
  let isHostile: Bool
  /// With databases, whose entries and pages go from node to node by the machines of replication.
  let isWhole: Bool
  /// With clients of replicas that write, and read the latest; half of the worlds with databases.
  let isForwarding: Bool
  var isRecording: Bool
  var history: [String] = []

  var random: SeededRandom
  var queue = EventQueue()
  var time = 0
  var step = 0
  var nodes: [SimulatedNode] = []
  /// Whether messages from one node to another are lost.
  var isCut: [[Bool]] = []
  var isMending = false
  var nextEntry = 1
  /// The node that has a fault, in calm weather.
  var victim: Int?
  /// The node that never comes back.
  var lost: Int?
  var connections: [Connection] = []
  var nextConnection = 0
  /// Every entry that was made, by its number.
  var made = [SimulatedLog.Entry(term: .zero, id: 0)]

  // What has happened, as nobody in the world knows it.
  var committed: [SimulatedLog.Entry] = []
  var leaders: [LeaseTerm: Int] = [:]
  var committers: [LeaseTerm: Int] = [:]
  var votes: [Ballot: Int] = [:]
  /// What each database holds after each of its transactions.
  var contents: [[[Int]]] = []
  /// Transactions that replicas have sent, by their numbers.
  var requests: [SimulatedStore.Change] = []
  /// Of those the contents that are committed, and those whose clients were told that they are not.
  var forwarded: Set<Int> = []
  var denied: Set<Int> = []
  var nextGrant: UInt64 = 0
  var failure: String?

  struct Ballot: Hashable {
    var voter: Int
    var term: LeaseTerm
  }

  var majority: Int { nodes.count / 2 + 1 }

  /// Lets a world run.
  ///
  /// - Returns: what went wrong; nil if nothing did.
  static func run(
    seed: UInt64,
    steps: Int,
    isWhole: Bool = false,
    defect: Defect? = nil,
    isLeaseIgnored: Bool = false,
    isDiskFailing: Bool = false
  ) -> Failure? {
    func attempt(isRecording: Bool) -> Failure? {
      var simulation = Simulation(
        seed: seed,
        isWhole: isWhole,
        defect: defect,
        isLeaseIgnored: isLeaseIgnored,
        isDiskFailing: isDiskFailing,
        isRecording: isRecording
      )
      return simulation.run(steps: steps)
    }
    // Worlds repeat themselves, hence what happened is written down only where it is wanted.
    return attempt(isRecording: false).map { attempt(isRecording: true) ?? $0 }
  }

  private init(
    seed: UInt64,
    isWhole: Bool,
    defect: Defect?,
    isLeaseIgnored: Bool,
    isDiskFailing: Bool,
    isRecording: Bool
  ) {
    self.seed = seed
    self.isWhole = isWhole
    isForwarding = isWhole && (seed / 4 % 2 == 1 || defect?.isOfForwarding == true)
    self.defect = defect
    self.isLeaseIgnored = isLeaseIgnored || defect?.isOfSecondLine == true
    self.isDiskFailing = isDiskFailing
    self.isRecording = isRecording
    random = SeededRandom(seed: seed)
    isCalm = seed % 4 == 0
    isHostile = seed % 4 > 1
    let count = isCalm ? [3, 3, 5][pick(3)] : [1, 2, 3, 3, 3, 3, 3, 4, 5, 5][pick(10)]
    let names = (0..<count).map { "n\($0)" }
    let databases = isWhole ? 1 + pick(3) : 0
    contents = Array(
      repeating: [Array(repeating: 0, count: SimulatedStore.pages)],
      count: databases
    )
    let silent = count > 2 && !isWhole && chance(20) ? pick(count) : nil
    for (index, name) in names.enumerated() {
      let configuration = Election.Configuration(
        name: name,
        voters: Set(names),
        ttl: .microseconds(Self.ttl),
        priority: Int64(pick(3)),
        isCandidate: index != silent
      )
      let most = defect == .wildClocks ? 4 * Self.maximumDrift : Self.maximumDrift
      let drift = isHostile ? (chance(50) ? most : -most) : pick(2 * most + 1) - most
      nodes.append(makeNode(configuration, drift: drift, databases: databases))
      queue.add(.tick(index, life: 0), at: pick(Self.ttl / 10))
    }
    isCut = Array(repeating: Array(repeating: false, count: count), count: count)
    queue.add(.clients, at: Self.ttl / 4)
    queue.add(.fault, at: Self.ttl)
  }

  private mutating func makeNode(
    _ configuration: Election.Configuration,
    drift: Int,
    databases: Int
  ) -> SimulatedNode {
    let offset = pick(100 * Self.ttl)
    var node = SimulatedNode(
      name: configuration.name,
      configuration: configuration,
      drift: drift,
      offset: offset,
      election: Election(configuration, record: SimulatedNode.noRecord, seed: 0, now: .now),
      store: SimulatedStore(
        databases: databases,
        voters: configuration.voters.sorted(),
        own: configuration.name
      ),
      seen: Array(repeating: 0, count: databases)
    )
    node.election = Election(
      configuration,
      record: SimulatedNode.noRecord,
      seed: random.next(),
      now: node.now(0)
    )
    return node
  }

  private mutating func run(steps: Int) -> Failure? {
    while step < steps {
      takeStep()
      if let failure { return failed(failure) }
    }
    mend()
    let limit = time + Self.patience * Self.ttl
    let before = committed.count
    while time < limit {
      takeStep()
      if let failure { return failed(failure) }
      if committed.count > before, nodes.contains(where: { $0.holdsLease(time) }),
        !isWhole || hasConverged(before)
      {
        return nil
      }
    }
    return failed(
      "no leader that commits\(isWhole ? ", or not all databases everywhere," : "")"
        + " within \(Self.patience) ttl, though everything works"
    )
  }

  private func failed(_ message: String) -> Failure {
    Failure(seed: seed, step: step, message: message, history: history)
  }

  private mutating func takeStep() {
    guard let item = queue.next() else { return failure = "nothing is left to happen" }
    time = max(time, item.time)
    step += 1
    if let node = item.event.node, nodes[node].pausedUntil > time {
      queue.add(item.event, at: nodes[node].pausedUntil)
      return
    }
    if let node = item.event.electionNode, nodes[node].isBusy {
      nodes[node].inbox.append(item.event)
    } else {
      handle(item.event)
    }
    check()
  }

  mutating func handle(_ event: Event) {
    switch event {
    case .tick(let node, let life):
      guard isAlive(node, life) else { return }
      let log = nodes[node].log.last
      feed(node) { $0.tick(at: $1, log: log) }
      if isWhole {
        keepHouse(node)
        tickSessions(node)
        giveAway(node)
      } else {
        replicate(node)
      }
      queue.add(event, at: time + Self.ttl / 12 + pick(Self.ttl / 50))
    case .deliver(let packet, let sender, let receiver):
      guard nodes[receiver].isUp else { return }
      take(packet, from: sender, at: receiver)
    case .recordStored(let node, let life, let record):
      recordStored(node, life, record)
    case .logFenced(let node, let life, let term):
      logFenced(node, life, term)
    case .logFlushed(let node, let life, let version, let length, let leader, let term):
      guard isAlive(node, life), nodes[node].log.version == version else { return }
      nodes[node].log.durable = max(nodes[node].log.durable, length)
      if isWhole {
        becameDurable(node)
      } else if let leader {
        acknowledge(term, length, from: node, to: leader)
      } else {
        commit(node)
      }
    case .clients:
      for node in nodes.indices { serveClient(node) }
      queue.add(event, at: time + Self.ttl / 8 + pick(Self.ttl / 4))
    case .fault:
      if isMending { return }
      makeFault()
      queue.add(event, at: time + pick(isCalm ? Self.ttl : Self.ttl))
    case .crash(let node, let life):
      if isAlive(node, life), !isMending { crash(node) }
    case .restart(let node, let life):
      if nodes[node].life == life, !nodes[node].isUp { restart(node) }
    case .heal(let node): heal(node)
    case .frame(let connection, let end, _): deliver(connection, to: end)
    case .work(let node, let life, let body): if isAlive(node, life) { body(&self) }
    }
  }

  func isAlive(_ node: Int, _ life: Int) -> Bool { nodes[node].isUp && nodes[node].life == life }

  mutating func note(_ text: @autoclosure () -> String) {
    guard isRecording else { return }
    history.append("\(time / 1000) ms  \(text())")
    if history.count > Self.keptHistory { history.removeFirst() }
  }

  /// A number from 0 below `count`.
  mutating func pick(_ count: Int) -> Int {
    // The bias of a remainder does not matter here, and speed does.
    Int(truncatingIfNeeded: random.next() >> 1) % count
  }

  mutating func chance(_ percent: Int) -> Bool { pick(100) < percent }
}
