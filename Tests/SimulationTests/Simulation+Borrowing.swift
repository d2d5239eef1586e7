@testable import Lease
import LTX
import Replication
@testable import Store
import Synchronization

// The replicas' side of writes from replicas, and what their clients are told.

extension Simulation {
  /// How long a client waits to hear what has become of its transaction.
  private static let outcomeLimit = 4 * ttl

  /// Clients of a replica write, or want to.
  mutating func borrow(_ node: Int) {
    for number in nodes[node].store.borrows.indices {
      settleAttempt(node, number)
      guard nodes[node].reign == nil, let id = streaming(node) else { continue }
      let borrow = nodes[node].store.borrows[number]
      switch borrow.phase {
      case .none:
        guard borrow.attempt == nil, chance(30) else { continue }
        nextGrant += 1
        nodes[node].store.borrows[number].phase = .asked(GrantID(nextGrant))
        request(id, .ask(GrantID(nextGrant), database: SimulatedStore.name(number)))
      case .asked: break
      case .held(let grant, let through):
        guard borrow.attempt == nil else { continue }
        if nodes[node].store.isReadable(number),
          nodes[node].store.databases[number].entry >= through, chance(70)
        {
          write(node, number, grant, id)
        } else if chance(20) {
          giveBack(node, number)
        }
      }
    }
  }

  /// A client of a replica wants to see all that is committed by now.
  mutating func readLatest(_ node: Int) {
    settleRead(node)
    guard nodes[node].reign == nil, nodes[node].store.read == nil, let id = streaming(node) else {
      return
    }
    nextGrant += 1
    nodes[node].store.read = SimulatedBorrow.Read(
      id: GrantID(nextGrant),
      floor: contents.map { $0.count - 1 },
      since: time
    )
    request(id, .readIndex(GrantID(nextGrant)))
  }

  /// Lets the client read once the node has applied what the primary said.
  private mutating func settleRead(_ node: Int) {
    guard let read = nodes[node].store.read else { return }
    let store = nodes[node].store
    guard time - read.since <= Self.outcomeLimit else { return nodes[node].store.read = nil }
    guard let index = read.index, store.databases.indices.allSatisfy(store.isReadable),
      store.databases.allSatisfy({ $0.entry >= index }) || defect == .readBeforeApplied
    else { return }
    nodes[node].store.read = nil
    for (number, database) in store.databases.enumerated()
    where database.transaction < read.floor[number] {
      failure =
        "n\(node) reads transaction \(database.transaction) of database \(number), and"
        + " \(read.floor[number]) was committed before"
    }
  }

  /// The connection over which a replica can ask its primary.
  private func streaming(_ node: Int) -> Int? {
    connections.first { $0.replica == node && $0.isOpen(.replica) && $0.isBorrowing }?.id
  }

  private mutating func request(_ id: Int, _ request: GrantRequest) {
    guard let at = place(id) else { return }
    connections[at].session.request(request)
    pump(id)
  }

  private mutating func write(_ node: Int, _ number: Int, _ grant: GrantID, _ id: Int) {
    let database = nodes[node].store.databases[number]
    let change = SimulatedStore.Change(
      database: number,
      page: pick(SimulatedStore.pages),
      content: Self.forwarded + requests.count,
      transaction: database.transaction + 1
    )
    note("n\(node) sends transaction \(change.content)")
    nodes[node].store.borrows[number].attempt = SimulatedBorrow.Attempt(
      request: requests.count,
      sent: SentTransaction(grant, term: followedTerm(id)),
      before: nodes[node].log.entries.count,
      since: time
    )
    let payload = Self.bytes(requests.count)
    requests.append(change)
    request(id, .append(grant, .transaction, payload: payload))
  }

  private mutating func giveBack(_ node: Int, _ number: Int) {
    guard let grant = nodes[node].store.borrows[number].phase.id else { return }
    nodes[node].store.borrows[number].phase = .none
    nodes[node].store.borrows[number].isRecalled = false
    if let id = streaming(node) { request(id, .giveBack(grant)) }
  }

  // MARK: What the primary says

  mutating func answered(_ node: Int, _ answer: GrantAnswer) {
    if case .readIndex(let id, let index) = answer, nodes[node].store.read?.id == id {
      if index == .zero {
        nodes[node].store.read = nil
      } else {
        nodes[node].store.read?.index = Int(index.rawValue)
      }
      return settleRead(node)
    }
    for number in nodes[node].store.borrows.indices {
      let present = nodes[node].store.borrows[number].phase.id
      switch answer {
      case .given(let id, let through):
        if nodes[node].store.borrows[number].phase == .asked(id) {
          nodes[node].store.borrows[number].phase = .held(id, through: Int(through.rawValue))
        }
      case .recalled(let id):
        guard present == id else { continue }
        nodes[node].store.borrows[number].isRecalled = true
        if nodes[node].store.borrows[number].attempt == nil { giveBack(node, number) }
      case .ended(let id, _):
        guard present == id else { continue }
        nodes[node].store.borrows[number].phase = .none
        nodes[node].store.borrows[number].isRecalled = false
        nodes[node].store.borrows[number].attempt?.sent.lost()
      case .appended(let id, let index):
        nodes[node].store.borrows[number].attempt?.sent.appended(id, index)
      case .refused(let id, let reason):
        nodes[node].store.borrows[number].attempt?.sent.refused(id, reason)
      case .readIndex: break
      }
      settleAttempt(node, number)
    }
  }

  /// The primary can be asked: its log ended there when it was reached.
  mutating func connected(_ node: Int, through last: LogIndex) {
    let term = streaming(node).flatMap { followedTerm($0) }
    for number in nodes[node].store.borrows.indices {
      nodes[node].store.borrows[number].attempt?.sent.reconnected(through: last, term: term)
      settleAttempt(node, number)
    }
  }

  mutating func disconnected(_ node: Int) {
    if nodes[node].store.read?.index == nil { nodes[node].store.read = nil }
    for number in nodes[node].store.borrows.indices {
      nodes[node].store.borrows[number].phase = .none
      nodes[node].store.borrows[number].isRecalled = false
      nodes[node].store.borrows[number].attempt?.sent.lost()
      guard defect == .loseWithTheConnection else { continue }
      nodes[node].store.borrows[number].attempt?.sent.completed()
      settleAttempt(node, number)
    }
  }

  /// This node is about to be the primary.
  mutating func supersede(_ node: Int) {
    for number in nodes[node].store.borrows.indices {
      if defect == .settleWhenElected {
        nodes[node].store.borrows[number].attempt?.sent.completed()
      } else {
        nodes[node].store.borrows[number].attempt?.sent.superseded()
      }
      settleAttempt(node, number)
    }
  }

  private func followedTerm(_ id: Int) -> Term? {
    place(id).map { Term(connections[$0].session.term.rawValue) }
  }

  /// The log is cut or begins anew: nobody can tell any more what has become of what was sent.
  mutating func forgetAttempts(_ node: Int) {
    for number in nodes[node].store.borrows.indices
    where nodes[node].store.borrows[number].attempt != nil {
      note("n\(node) cannot tell what has become of a transaction of database \(number)")
      nodes[node].store.borrows[number].attempt = nil
    }
  }

  // MARK: What clients are told

  /// Looks whether it is known what has become of a transaction.
  mutating func settleAttempt(_ node: Int, _ number: Int) {
    guard let attempt = nodes[node].store.borrows[number].attempt else { return }
    if let answer = attempt.answer {
      guard let isCommitted = answer.isCommitted.withLock({ $0 }) else { return }
      if isCommitted { return tell(node, number, true) }
      // What is cut from one log may yet be committed with another.
      nodes[node].store.borrows[number].attempt = nil
      return
    }
    let entries = nodes[node].log.entries
    switch attempt.sent.outcome {
    case .open, .lost:
      guard time - attempt.since > Self.outcomeLimit else { return }
      let content = requests[attempt.request].content
      note("n\(node) hears nothing of transaction \(content)")
      nodes[node].store.borrows[number].attempt = nil
      giveBack(node, number)
    case .appended(let index):
      if Int(index.rawValue) <= entries.count { hold(node, number, Int(index.rawValue)) }
    case .refused: tell(node, number, false)
    case .unknown: nodes[node].store.borrows[number].attempt = nil
    case .settled(let end):
      if entries.count >= Int(end.rawValue) { look(node, number, attempt) }
    case .superseded:
      let committed = Term(nodes[node].log.term(nodes[node].applied).rawValue)
      if attempt.sent.isOver(committed) { look(node, number, attempt) }
    }
  }

  /// It is in the log by now, or nowhere.
  private mutating func look(_ node: Int, _ number: Int, _ attempt: SimulatedBorrow.Attempt) {
    let entries = nodes[node].log.entries
    let change = requests[attempt.request]
    let place = entries.indices.dropFirst(attempt.before).first { entries[$0].change == change }
    if let place { hold(node, number, place + 1) } else { tell(node, number, false) }
  }

  /// It is in the node's log, at this index.
  private mutating func hold(_ node: Int, _ number: Int, _ index: Int) {
    let answer = SimulatedBorrow.Answer()
    nodes[node].store.borrows[number].attempt?.answer = answer
    nodes[node].store.commits.wait(
      for: LogIndex(UInt64(index)),
      isForwarded: true,
      orElse: StoreError(.readOnly, "deposed")
    ) { error in answer.isCommitted.withLock { $0 = error == nil } }
    settleAttempt(node, number)
  }

  /// The client hears whether its transaction is committed.
  private mutating func tell(_ node: Int, _ number: Int, _ isCommitted: Bool) {
    guard let attempt = nodes[node].store.borrows[number].attempt else { return }
    nodes[node].store.borrows[number].attempt = nil
    let change = requests[attempt.request]
    note(
      "n\(node) hears that transaction \(change.content) is \(isCommitted ? "" : "not ")committed"
    )
    checkTold(node, change, isCommitted)
    if nodes[node].store.borrows[number].isRecalled { giveBack(node, number) }
  }
}
