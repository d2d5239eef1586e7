@testable import Lease

// Network, disk and what befalls the nodes.

extension Simulation {
  /// Microseconds that a write takes.
  mutating func diskTime() -> Int {
    if !isCalm, !isMending, chance(5) { return pick(Self.ttl) }
    return 500 + pick(8_000)
  }

  mutating func send(_ packet: Packet, from sender: Int, to receiver: Int) {
    if isCut[sender][receiver] { return }
    let isRough = !isCalm && !isMending
    if isRough, chance(5) { return }
    let isLate = isHostile && isRough && packet.isVoteRequest && chance(25)
    let delay = isLate ? pick(3 * Self.ttl) : self.delay(isRough)
    queue.add(.deliver(packet, from: sender, to: receiver), at: time + delay)
    if isRough, chance(3) {
      queue.add(.deliver(packet, from: sender, to: receiver), at: time + self.delay(isRough))
    }
  }

  private mutating func delay(_ isRough: Bool) -> Int {
    guard isRough else { return 200 + pick(10_000) }
    let hundredth = pick(100)
    // Most are fast; a few come when their time is long over.
    if hundredth < (isHostile ? 8 : 3) { return pick(3 * Self.ttl) }
    return 200 + pick(hundredth < 15 ? Self.ttl / 3 : 20_000)
  }

  mutating func makeFault() {
    if isCalm { return makeMinorFault() }
    let leader = nodes.firstIndex { $0.reign != nil && $0.isUp }
    let node = isHostile && chance(60) ? leader ?? pick(nodes.count) : pick(nodes.count)
    if isWhole, chance(15) { return damage(node) }
    if isWhole, chance(10) { return hangUpAll(node) }
    switch pick(12) {
    case 0, 1: crash(node)
    case 2, 3: pause(node)
    case 4: cut(node, isIncoming: true, isOutgoing: true)
    case 5: cut(node, isIncoming: true, isOutgoing: false)
    case 6: cut(node, isIncoming: false, isOutgoing: true)
    case 7: cutOneLink(node)
    case 8: heal(node)
    case 9: for node in nodes.indices { heal(node) }
    case 10:
      let target = chance(50) ? nodes[pick(nodes.count)].name : nil
      guard let leader, nodes[leader].pausedUntil <= time, target != nodes[leader].name else {
        return
      }
      note("n\(leader) is to hand over to \(target ?? "anybody")")
      if !nodes[leader].isBusy { feed(leader) { _ = $0.handOver(to: target, at: $1) } }
    default:
      guard nodes[node].isUp, nodes[node].pausedUntil <= time else { return }
      note("n\(node) is to be promoted")
      if !nodes[node].isBusy { feed(node) { election, _ in _ = election.askForHandOver() } }
    }
  }

  /// One node at a time, never the leader, which a majority then still hears.
  private mutating func makeMinorFault() {
    guard victim == nil, let leader = nodes.firstIndex(where: { $0.reign != nil }) else { return }
    let node = (leader + 1 + pick(nodes.count - 1)) % nodes.count
    victim = node
    switch pick(5) {
    case 0: crash(node)
    case 1: pause(node)
    case 2: cut(node, isIncoming: true, isOutgoing: true)
    case 3: cut(node, isIncoming: true, isOutgoing: false)
    default: cut(node, isIncoming: false, isOutgoing: true)
    }
    // Only one node at a time is not as it should be.
    queue.add(.heal(node), at: max(time + pick(4 * Self.ttl), nodes[node].pausedUntil))
  }

  mutating func heal(_ node: Int) {
    note("n\(node) is connected")
    for other in nodes.indices {
      isCut[node][other] = false
      isCut[other][node] = false
    }
    if !nodes[node].isUp, isCalm { restart(node) }
    if victim == node { victim = nil }
  }

  private mutating func cut(_ node: Int, isIncoming: Bool, isOutgoing: Bool) {
    note("n\(node) is cut off, \(isIncoming ? "in" : "")\(isOutgoing ? "out" : "")")
    for other in nodes.indices where other != node {
      if isIncoming { isCut[other][node] = true }
      if isOutgoing { isCut[node][other] = true }
    }
  }

  private mutating func cutOneLink(_ node: Int) {
    let other = pick(nodes.count)
    guard other != node else { return }
    note("nothing comes from n\(node) to n\(other)")
    isCut[node][other] = true
  }

  private mutating func pause(_ node: Int) {
    guard nodes[node].isUp else { return }
    let end = time + pick(3 * Self.ttl)
    nodes[node].pausedUntil = end
    note("n\(node) is paused until \(end / 1000) ms")
  }

  /// A voter that crashes when it has just voted, in hostile weather.
  mutating func crashAfterVote(_ node: Int) {
    guard isHostile, !isMending, chance(15) else { return }
    queue.add(.crash(node, life: nodes[node].life), at: time)
  }

  /// A leader that nobody hears once it is elected, in hostile weather.
  mutating func cutAfterElection(_ node: Int) {
    guard isHostile, !isMending, chance(15) else { return }
    cut(node, isIncoming: false, isOutgoing: true)
  }

  /// Whether a write to the disk fails.
  mutating func diskFails() -> Bool { isDiskFailing && !isCalm && !isMending && chance(4) }

  mutating func crash(_ node: Int) {
    guard nodes[node].isUp else { return }
    // What is being written may have come to the disk or not.
    if let record = nodes[node].writing, chance(50) { nodes[node].disk = record }
    nodes[node].writing = nil
    nodes[node].fencing = nil
    nodes[node].remaining = []
    nodes[node].inbox = []
    let log = nodes[node].log
    let kept = log.durable + pick(log.entries.count - log.durable + 1)
    nodes[node].log.truncate(to: kept)
    nodes[node].log.durable = nodes[node].log.entries.count
    nodes[node].applied = min(nodes[node].applied, nodes[node].log.entries.count)
    nodes[node].isUp = false
    nodes[node].reign = nil
    if isWhole { crashStore(node) }
    nodes[node].life += 1
    note("n\(node) crashes")
    let life = nodes[node].life
    let delay = chance(50) ? pick(Self.ttl / 5) : pick(3 * Self.ttl)
    queue.add(.restart(node, life: life), at: time + delay)
  }

  mutating func restart(_ node: Int) {
    guard node != lost else { return }
    var record = nodes[node].disk
    if defect == .forgetVoteOnRestart { record.vote = nil }
    if defect == .forgetTermOnRestart { record = SimulatedNode.noRecord }
    let log = nodes[node].log.last
    if record.term < log.term { record = ElectionRecord(term: log.term, vote: nil) }
    nodes[node].isUp = true
    nodes[node].loaded = record.term
    nodes[node].stored = record
    nodes[node].pausedUntil = 0
    nodes[node].log.fence = defect == .noFence ? .zero : record.term
    let now = nodes[node].now(time)
    nodes[node].election = Election(
      nodes[node].configuration,
      record: record,
      seed: random.next(),
      now: defect == .grantRightAfterRestart ? now - .microseconds(3 * Self.ttl) : now
    )
    note("n\(node) starts again in term \(record.term), vote \(record.vote ?? "none")")
    checkRestarted(node)
    if isWhole { restartStore(node) }
    queue.add(.tick(node, life: nodes[node].life), at: time + pick(Self.ttl / 50))
  }

  /// In some worlds one node is gone for good, where the others have databases to go on with.
  private mutating func loseOne() {
    guard isWhole, seed % 3 == 0 else { return }
    let remaining = nodes.count - 1
    lost = nodes.indices.first { node in
      remaining >= majority
        && nodes.indices.allSatisfy { $0 == node || nodes[$0].store.isWhole }
    }
    if let lost { crash(lost) }
  }

  /// From here on nothing goes wrong any more.
  mutating func mend() {
    note("everything is mended")
    loseOne()
    isMending = true
    for node in nodes.indices {
      heal(node)
      if isWhole { undoDamage(node) }
      nodes[node].pausedUntil = min(nodes[node].pausedUntil, time)
      if !nodes[node].isUp { restart(node) }
    }
  }
}
