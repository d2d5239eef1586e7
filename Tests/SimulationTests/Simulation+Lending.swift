@testable import Lease
import LTX
import Replication
@testable import Store

// The primary's side of writes from replicas.

extension Simulation {
  /// How long a replica may take to give back what it is asked for.
  private static let recallLimit = 2 * ttl

  /// A replica asks for a grant, gives one back, or sends a transaction.
  mutating func requested(_ node: Int, _ id: Int, _ request: GrantRequest) {
    guard let at = place(id), connections[at].isLending else { return }
    switch request {
    case .ask(let grant, let name):
      guard let number = SimulatedStore.number(name), nodes[node].store.isServing else {
        return answer(id, .ended(grant, reason: "not the primary"))
      }
      nodes[node].store.loans[number].granted.insert(.replica(id, grant))
      lend(node, number) { $0.ask(.replica(id, grant)) }
    case .giveBack(let grant):
      for number in nodes[node].store.loans.indices { gaveBack(node, number, .replica(id, grant)) }
    case .append(let grant, _, let payload): take(node, id, grant, Self.number(payload))
    case .readIndex(let grant):
      let isPrimary = nodes[node].store.isServing && mayCommit(node)
      answer(id, .readIndex(grant, isPrimary ? nodes[node].store.commits.index : .zero))
    }
  }

  private mutating func answer(_ id: Int, _ answer: GrantAnswer) {
    guard let at = place(id), connections[at].isOpen(.primary) else { return }
    connections[at].peer.answer(answer)
  }

  /// Appends what a replica has written, once all that came before is applied.
  private mutating func take(_ node: Int, _ id: Int, _ grant: GrantID, _ request: Int) {
    let change = requests[request]
    let loan = nodes[node].store.loans[change.database]
    let party = SimulatedLoan.Party.replica(id, grant)
    let database = nodes[node].store.databases[change.database]
    guard let term = nodes[node].reign, nodes[node].store.isServing, mayCommit(node),
      nodes[node].log.fence <= term, loan.queue.holder == party, loan.granted.contains(party),
      loan.unapplied == nil, change.transaction == database.transaction + 1
    else { return answer(id, .refused(grant, reason: "not now")) }
    let index = add(node, term, change)
    nodes[node].store.loans[change.database].unapplied = index
    answer(id, .appended(grant, LogIndex(UInt64(index))))
    wakePeers(node)
  }

  /// A grant is over, once all that was written under it is applied.
  private mutating func gaveBack(_ node: Int, _ number: Int, _ party: SimulatedLoan.Party) {
    guard nodes[node].store.loans[number].granted.remove(party) != nil else { return }
    if nodes[node].store.loans[number].unapplied == nil {
      lend(node, number) { $0.gaveBack(party) }
    } else {
      nodes[node].store.loans[number].returning.append(party)
    }
  }

  /// More is committed and applied on the primary.
  mutating func settleLoans(_ node: Int) {
    for number in nodes[node].store.loans.indices {
      if let last = nodes[node].store.loans[number].unapplied, last <= nodes[node].applied {
        nodes[node].store.loans[number].unapplied = nil
        let returning = nodes[node].store.loans[number].returning
        nodes[node].store.loans[number].returning = []
        for party in returning { lend(node, number) { $0.gaveBack(party) } }
      }
      lendIfFree(node, number)
    }
  }

  /// Clients of the primary want to write.
  ///
  /// - Returns: whether it is their turn.
  mutating func isOwnTurn(_ node: Int, _ number: Int) -> Bool {
    if nodes[node].store.loans[number].queue.isOwned { return true }
    lend(node, number) { $0.ask(.own) }
    return nodes[node].store.loans[number].queue.isOwned
  }

  private mutating func lend(
    _ node: Int,
    _ number: Int,
    _ input: (inout GrantQueue<SimulatedLoan.Party>) -> [GrantQueue<SimulatedLoan.Party>.Directive]
  ) {
    for directive in input(&nodes[node].store.loans[number].queue) {
      switch directive {
      case .recall(.own): lendIfFree(node, number)
      case .recall(.replica(let id, let grant)):
        answer(id, .recalled(grant))
        pump(id)
        later(node, after: Self.recallLimit) { $0.revoke(node, number, id, grant) }
      case .give(.own): break
      case .give(.replica(let id, let grant)):
        // Of one that ended meanwhile nobody else would give it back.
        guard nodes[node].store.loans[number].granted.contains(.replica(id, grant)) else {
          lend(node, number) { $0.gaveBack(.replica(id, grant)) }
          continue
        }
        answer(id, .given(grant, through: LogIndex(UInt64(nodes[node].applied))))
        pump(id)
      }
    }
  }

  /// Gives away what others want, once none of the primary's clients is in a transaction.
  private mutating func lendIfFree(_ node: Int, _ number: Int) {
    let queue = nodes[node].store.loans[number].queue
    guard queue.holder == .own, queue.isRecalled,
      nodes[node].store.parked[number] == nil || defect == .lendWhileWriting
    else { return }
    lend(node, number) { $0.gaveBack(.own) }
  }

  private mutating func revoke(_ node: Int, _ number: Int, _ id: Int, _ grant: GrantID) {
    let party = SimulatedLoan.Party.replica(id, grant)
    guard nodes[node].store.loans[number].queue.holder == party,
      nodes[node].store.loans[number].granted.contains(party)
    else { return }
    note("n\(node) revokes the grant of database \(number)")
    answer(id, .ended(grant, reason: "not given back"))
    gaveBack(node, number, party)
    pump(id)
  }

  /// What a connection had is over: it has ended, or the same replica has come over another one.
  mutating func endLending(_ id: Int) {
    guard let at = place(id), connections[at].isLending else { return }
    connections[at].isLending = false
    let node = connections[at].primary
    for number in nodes[node].store.loans.indices {
      for party in nodes[node].store.loans[number].granted {
        if case .replica(id, _) = party { gaveBack(node, number, party) }
      }
    }
  }

  /// A replica is about to be told where the log ends.
  mutating func endEarlierLending(_ id: Int) {
    guard let at = place(id) else { return }
    let (replica, primary) = (connections[at].replica, connections[at].primary)
    for other in connections
    where other.id < id && other.replica == replica && other.primary == primary {
      endLending(other.id)
    }
  }
}
