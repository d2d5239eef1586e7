@testable import Lease
import Replication
import Store

// Connections between replicas and primaries: the machines of both ends, and what carries their frames. The work
// on the store that they ask for is in `Simulation+Primary` and `Simulation+Replica`.

extension Simulation {
  static let cluster = ClusterID(rawValue: "simulated")
  static let timing = SessionTiming(
    heartbeat: .microseconds(ttl / 4),
    silence: .microseconds(ttl),
    handshake: .microseconds(ttl)
  )

  /// So small that what is sent comes in pieces.
  private static var peerLimits: PrimaryPeer.Limits {
    var limits = PrimaryPeer.Limits()
    limits.chunk = 3 * Int(pageBytes)
    limits.logWindow = 8 * Int(pageBytes)
    limits.snapshotWindow = 4 * Int(pageBytes)
    return limits
  }

  private static var sessionLimits: ReplicaSession.Limits {
    var limits = ReplicaSession.Limits()
    limits.queue = 20 * Int(pageBytes)
    limits.repairDelay = .microseconds(ttl / 20)
    limits.longestRepairDelay = .microseconds(ttl / 2)
    return limits
  }

  func place(_ id: Int) -> Int? { connections.firstIndex { $0.id == id } }

  /// A replica connects to whom it believes to be the leader.
  mutating func followLeader(_ node: Int) {
    guard nodes[node].reign == nil, !nodes[node].isHeld, let name = nodes[node].election.leader,
      let leader = nodes.firstIndex(where: { $0.name == name }), leader != node
    else { return }
    for connection in connections
    where connection.replica == node && connection.isOpen(.replica) {
      if connection.primary == leader { return }
      hangUp(connection.id, .replica)
    }
    guard nodes[leader].isUp, !isCut[node][leader], !isCut[leader][node] else { return }
    let term = max(nodes[node].log.fence, nodes[node].election.record.term)
    let session = ReplicaSession(
      local: ReplicaSession.Local(
        name: nodes[node].name,
        cluster: Self.cluster,
        term: Term(term.rawValue),
        wantsReset: false
      ),
      timing: Self.timing,
      limits: Self.sessionLimits,
      now: nodes[node].now(time)
    )
    let peer = PrimaryPeer(
      local: PrimaryPeer.Local(
        name: name,
        cluster: Self.cluster,
        term: nodes[leader].reign.map { Term($0.rawValue) }
      ),
      certifiedNames: nil,
      timing: Self.timing,
      limits: Self.peerLimits,
      now: nodes[leader].now(time)
    )
    nextConnection += 1
    // A newer connection takes over from the one before.
    for old in connections where old.replica == node && old.primary == leader {
      if let at = place(old.id), old.isOpen(.primary) {
        connections[at].peer.stop(.replaced)
        pump(old.id)
      }
    }
    connections.append(
      Connection(id: nextConnection, replica: node, primary: leader, session: session, peer: peer)
    )
    pump(nextConnection)
  }

  /// Time passes for the connections of a node.
  mutating func tickSessions(_ node: Int) {
    connections.removeAll { !$0.isOpen(.replica) && !$0.isOpen(.primary) }
    for id in connections.map(\.id) {
      guard let at = place(id) else { continue }
      let now = nodes[node].now(time)
      if connections[at].primary == node {
        let term = nodes[node].reign.map { Term($0.rawValue) }
        connections[at].peer.tick(at: now, term: term, wallClock: 0)
      } else if connections[at].replica == node {
        connections[at].session.tick(at: now, wallClock: 0)
      } else {
        continue
      }
      pump(id)
    }
    followLeader(node)
  }

  /// Lets the replicas of a node know that its log, or what of it is committed, has grown.
  mutating func wakePeers(_ node: Int) {
    let now = nodes[node].now(time)
    for id in connections.map(\.id) {
      guard let at = place(id), connections[at].primary == node else { continue }
      connections[at].peer.appended(at: now)
      pump(id)
    }
  }

  /// Lets the primary of a node know how far it is.
  mutating func wakeSessions(_ node: Int) {
    for id in connections.map(\.id) {
      guard let at = place(id), connections[at].replica == node else { continue }
      connections[at].session.progressed()
      pump(id)
    }
  }

  /// Does what both ends want.
  mutating func pump(_ id: Int) {
    while let at = place(id), isRunning(connections[at], .primary),
      let directive = connections[at].peer.next(at: nodes[connections[at].primary].now(time))
    {
      perform(directive, at, id)
    }
    while let at = place(id), isRunning(connections[at], .replica),
      let directive = connections[at].session.next(at: nodes[connections[at].replica].now(time))
    {
      perform(directive, at, id)
    }
    beginBorrowing(id)
    planWord(id)
  }

  /// A replica that follows may ask for grants from then on.
  private mutating func beginBorrowing(_ id: Int) {
    guard let at = place(id), isRunning(connections[at], .replica), !connections[at].isBorrowing,
      connections[at].session.isStreaming
    else { return }
    connections[at].isBorrowing = true
    connected(connections[at].replica, through: connections[at].session.welcomed)
  }

  private func isRunning(_ connection: Connection, _ end: Connection.End) -> Bool {
    let node = connection.node(end)
    return connection.isOpen(end) && nodes[node].isUp && nodes[node].pausedUntil <= time
  }

  /// What a replica holds back for a moment it says then.
  private mutating func planWord(_ id: Int) {
    guard let at = place(id), connections[at].isOpen(.replica), !connections[at].isWordPlanned,
      connections[at].session.nextWord != nil
    else { return }
    connections[at].isWordPlanned = true
    later(connections[at].replica, after: 6_000) { simulation in
      guard let at = simulation.place(id) else { return }
      simulation.connections[at].isWordPlanned = false
      simulation.pump(id)
    }
  }

  private mutating func perform(_ directive: PrimaryPeer.Directive, _ at: Int, _ id: Int) {
    let node = connections[at].primary
    switch directive {
    case .send(let message):
      send(Frame(term: connections[at].peer.term, message: message), to: .replica, id)
    case .acknowledged(let name, let index): acknowledged(node, by: name, through: index)
    case .grant(let request): requested(node, id, request)
    case .noteReplica, .higherTerm: break
    case .dropSnapshot: connections[at].snapshot = nil
    case .close:
      hangUp(id, .primary)
    case .recent(let first, let maxBytes):
      let batch = chance(20) ? nil : batch(node, from: first, maxBytes: maxBytes)
      connections[at].peer.recent(batch, at: nodes[node].now(time))
    case .summarize, .readLog, .openSnapshot, .readSnapshot, .endSnapshot:
      answer(id, .primary, after: 100 + pick(3_000)) { $0.work(directive, id) }
    }
  }

  private mutating func perform(_ directive: ReplicaSession.Directive, _ at: Int, _ id: Int) {
    switch directive {
    case .send(let message):
      send(Frame(term: connections[at].session.term, message: message), to: .primary, id)
    case .setReading(let isReading): connections[at].wantsReading = isReading
    case .grantAnswered(let answer):
      if connections[at].isBorrowing { answered(connections[at].replica, answer) }
    case .repairFailed: break
    case .close:
      hangUp(id, .replica)
    case .summarize, .observe, .readChecksums:
      answer(id, .replica, after: 100 + pick(3_000)) { $0.work(directive, id) }
    case .perform:
      answer(id, .replica, after: diskTime() / 4) { $0.work(directive, id) }
    }
  }

  /// An answer of blocking work at one end, in the order of the questions.
  private mutating func answer(
    _ id: Int,
    _ end: Connection.End,
    after delay: Int,
    _ body: @escaping (inout Simulation) -> Void
  ) {
    guard let at = place(id) else { return }
    let due = max(time + delay, connections[at].lastAnswer[end] ?? 0)
    connections[at].lastAnswer[end] = due
    later(connections[at].node(end), after: due - time) { simulation in
      guard let at = simulation.place(id), simulation.connections[at].isOpen(end) else { return }
      body(&simulation)
      simulation.pump(id)
    }
  }

  // MARK: The network

  private mutating func send(_ frame: Frame, to end: Connection.End, _ id: Int) {
    guard let at = place(id) else { return }
    let delay = !isCalm && !isMending && chance(5) ? pick(Self.ttl / 3) : 200 + pick(8_000)
    connections[at].frames[end, default: []].append(frame)
    let due = max(time + delay, connections[at].lastFrame[end] ?? 0)
    connections[at].lastFrame[end] = due
    queue.add(.frame(id, to: end, node: connections[at].node(end)), at: due)
  }

  /// The next frame on its way arrives, or waits while nothing comes through.
  mutating func deliver(_ id: Int, to end: Connection.End) {
    guard let at = place(id), connections[at].isOpen(end) else { return }
    let receiver = connections[at].node(end)
    let sender = connections[at].node(end.other)
    guard nodes[receiver].isUp else { return }
    guard !isCut[sender][receiver], end == .primary || connections[at].wantsReading else {
      return queue.add(.frame(id, to: end, node: receiver), at: time + Self.ttl / 20)
    }
    guard var waiting = connections[at].frames[end], !waiting.isEmpty else { return }
    let frame = waiting.removeFirst()
    connections[at].frames[end] = waiting
    let now = nodes[receiver].now(time)
    switch end {
    case .replica: connections[at].session.receive(frame, at: now)
    case .primary: connections[at].peer.receive(frame, at: now)
    }
    pump(id)
  }

  /// One end is gone; the other learns of it, unless nothing comes through, and then finds it silent.
  mutating func hangUp(_ id: Int, _ end: Connection.End) {
    guard let at = place(id), connections[at].isOpen(end) else { return }
    connections[at].isOpen[end] = false
    if end == .primary { connections[at].snapshot = nil }
    if end == .primary {
      endLending(id)
    } else if connections[at].isBorrowing {
      connections[at].isBorrowing = false
      disconnected(connections[at].replica)
    }
    let (sender, receiver) = (connections[at].node(end), connections[at].node(end.other))
    guard !isCut[sender][receiver] else { return }
    // Behind whatever was said last.
    let due = max(time + 1_000 + pick(10_000), connections[at].lastFrame[end.other] ?? 0)
    later(receiver, after: due - time) { $0.hangUp(id, end.other) }
  }

  /// All connections of a node are gone.
  mutating func hangUpAll(_ node: Int) {
    for connection in connections {
      for end in Connection.End.allCases where connection.node(end) == node {
        hangUp(connection.id, end)
      }
    }
  }

  /// Something that a node does later, if it still runs.
  mutating func later(
    _ node: Int,
    after delay: Int,
    _ body: @escaping (inout Simulation) -> Void
  ) {
    queue.add(.work(node, life: nodes[node].life, body), at: time + max(0, delay))
  }
}
