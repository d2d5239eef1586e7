import Dispatch
import Synchronization

/// Carries messages to the other voters; may lose any of them.
package protocol ElectionTransport: Sendable {
  /// Must not block.
  func send(_ bytes: [UInt8], to voter: String)
}

/// Where a voter keeps its term and vote.
package protocol ElectionStorage: Sendable {
  func load() throws -> ElectionRecord
  /// On stable storage when it returns. May block.
  func save(_ record: ElectionRecord) throws
}

/// The log whose end decides who may lead.
package protocol ElectionLog: Sendable {
  var last: LogPosition { get }
  /// Takes nothing of a lower term from now on; where the log ends. May block briefly.
  func fence(_ term: LeaseTerm) -> LogPosition
}

/// The lease that a majority of voters gives one of them: performs what `Election` says.
///
/// A node that is not a voter never holds it, and does not learn here who does.
package final class QuorumLease: Lease {
  package struct Configuration: Sendable {
    package var election: Election.Configuration
    /// Where each voter is reached, by name.
    package var addresses: [String: String]
    /// How long `promote` and `demote` wait for what they began.
    package var patience = Duration.seconds(10)

    package init(election: Election.Configuration, addresses: [String: String]) {
      self.election = election
      self.addresses = addresses
    }
  }

  /// Looks at the clock in the time of a lease.
  static let ticksPerTTL = 20

  struct State {
    var election: Election
    /// What is on stable storage.
    var stored: ElectionRecord
    var lease: LeaseState
    var listeners: [UInt64: AsyncStream<LeaseState>.Continuation] = [:]
    var nextListener: UInt64 = 0
    /// Why this node does not vote.
    var problem: String?
    /// How often this node was elected since its start.
    var elections = 0
  }

  let configuration: Configuration
  let clock: LeaseClock
  let transport: any ElectionTransport
  let storage: any ElectionStorage
  let log: any ElectionLog
  /// Called when another voter asks for the lease. Must not block.
  let onRequest: @Sendable (String) -> Void
  let shared: Mutex<State>
  /// Everything that changes the election happens here, one after the other, and may wait for the disk.
  private let queue = DispatchQueue(label: "halite.lease", qos: .userInteractive)

  /// - Throws: when the vote of before cannot be read.
  package init(
    _ configuration: Configuration,
    clock: LeaseClock = .system,
    transport: any ElectionTransport,
    storage: any ElectionStorage,
    log: any ElectionLog,
    seed: UInt64,
    onRequest: @escaping @Sendable (String) -> Void = { _ in }
  ) throws {
    self.configuration = configuration
    self.clock = clock
    self.transport = transport
    self.storage = storage
    self.log = log
    self.onRequest = onRequest
    let record = try storage.load()
    // The log forgets its fence with the process; who has voted must not take entries of an earlier leader.
    _ = log.fence(record.term)
    let election = Election(
      configuration.election,
      record: record,
      seed: seed,
      now: clock.now
    )
    let lease = LeaseState(
      holder: nil,
      term: election.record.term,
      isHeldHere: false,
      deadline: nil
    )
    shared = Mutex(State(election: election, stored: record, lease: lease))
  }

  // MARK: Lease

  package var state: LeaseState { shared.withLock { $0.lease } }

  package func states() -> AsyncStream<LeaseState> {
    let (stream, continuation) = AsyncStream<LeaseState>.makeStream(
      bufferingPolicy: .bufferingNewest(1)
    )
    let key = shared.withLock { state in
      state.nextListener += 1
      state.listeners[state.nextListener] = continuation
      continuation.yield(state.lease)
      return state.nextListener
    }
    continuation.onTermination = { [weak self] _ in
      self?.shared.withLock { $0.listeners[key] = nil }
    }
    return stream
  }

  package func run() async throws {
    let interval = configuration.election.ttl / Self.ticksPerTTL
    do {
      while true {
        perform { election, now, log in election.tick(at: now, log: log) }
        try await clock.sleep(until: clock.now + interval)
      }
    } catch {
      // The others need not wait the lease out.
      perform { election, now, _ in
        if election.handOver(to: nil, at: now) == nil { election.resign(at: now) }
      }
      queue.sync {}
      throw error
    }
  }

  package func promote() async throws(LeaseError) {
    let name = configuration.election.name
    guard configuration.election.voters.contains(name), configuration.election.isCandidate else {
      throw LeaseError(
        .unsupported,
        "This node cannot be the primary: it is not one of lease.quorum.peers, or lease.candidate is false."
      )
    }
    if state.isHeldHere { return }
    let asked = Mutex(false)
    perform { election, _, _ in
      let isAsked = election.askForHandOver()
      asked.withLock { $0 = isAsked }
    }
    queue.sync {}
    guard asked.withLock({ $0 }) else {
      throw LeaseError(
        .unavailable,
        "No primary is known that could hand over; is there a majority?"
      )
    }
    try await wait("The primary has not handed over; see its log, and try again.") {
      $0.isHeldHere
    }
  }

  package func demote(to successor: String?) async throws(LeaseError) {
    let chosen = Mutex<String?>(nil)
    let before = state
    guard before.isHeldHere else { return }
    perform { election, now, _ in
      let found = election.handOver(to: successor, at: now)
      chosen.withLock { $0 = found }
    }
    queue.sync {}
    guard chosen.withLock({ $0 }) != nil else {
      throw LeaseError(
        .unavailable,
        "There is no voter to hand over to\(successor.map { ": \($0) is not one, or is away" } ?? "")."
      )
    }
  }

  private func wait(
    _ failure: String,
    until isDone: (LeaseState) -> Bool
  ) async throws(LeaseError) {
    let deadline = clock.now + configuration.patience
    while !isDone(state) {
      guard clock.now < deadline else { throw LeaseError(.unavailable, failure) }
      do {
        try await clock.sleep(until: clock.now + configuration.election.ttl / Self.ticksPerTTL)
      } catch {
        throw LeaseError(.unavailable, failure, cause: error)
      }
    }
  }

  // MARK: Inputs

  /// A message of another voter; from any thread, does not block.
  package func receive(_ bytes: [UInt8], from voter: String) {
    guard let message = ElectionMessage(bytes) else { return }
    perform { election, now, log in election.receive(message, from: voter, at: now, log: log) }
  }

  /// How the election stands, for `status`.
  package var standing: QuorumStanding {
    let now = clock.now
    return shared.withLock { state in
      QuorumStanding(
        role: state.election.role,
        term: state.election.record.term,
        remaining: state.lease.deadline.map { max(.zero, $0 - now) },
        elections: state.elections,
        problem: state.problem
      )
    }
  }

  /// The voters to whom the lease could be handed over now.
  package var successors: Set<String> {
    let now = clock.now
    return shared.withLock { $0.election.role == .leader ? $0.election.successors(at: now) : [] }
  }

  /// Whether a majority of the voters has an entry of this node's present term.
  package var isFollowed: Bool {
    shared.withLock { $0.election.isFollowed }
  }

  private func perform(
    _ input: @escaping @Sendable (inout Election, LeaseClock.Instant, LogPosition) -> Void
  ) {
    queue.async { [self] in
      let (now, log) = (clock.now, log.last)
      var directives = shared.withLock { state in
        input(&state.election, now, log)
        return state.election.takeDirectives()
      }
      // Whatever is over is over before anything else happens.
      tell()
      while !directives.isEmpty {
        directives = carryOut(directives)
        tell()
      }
    }
  }

  /// Performs directives in their order.
  ///
  /// - Returns: those that have come of it.
  private func carryOut(_ directives: [Election.Directive]) -> [Election.Directive] {
    for (place, directive) in directives.enumerated() {
      switch directive {
      case .send(let message, let voter): transport.send(message.encoded(), to: voter)
      case .persist(let record):
        do {
          try storage.save(record)
          shared.withLock {
            $0.problem = nil
            $0.stored = record
          }
        } catch {
          // Nothing that follows may be done; whoever waits for it asks again. At once, so that no other input
          // finds a term that is not stored.
          let now = clock.now
          return shared.withLock { state in
            state.problem = "this node cannot keep its vote: \(error)"
            state.election.revert(to: state.stored, at: now)
            return state.election.takeDirectives()
          }
        }
      case .fence(let term):
        let position = log.fence(term)
        let now = clock.now
        let more = shared.withLock { state in
          state.election.fenced(term, log: position, at: now)
          return state.election.takeDirectives()
        }
        return Array(directives[(place + 1)...]) + more
      case .elected: shared.withLock { $0.elections += 1 }
      case .deposed: break
      case .handOverRequested(let voter): onRequest(voter)
      }
    }
    return []
  }

  /// Lets everybody know what has changed.
  private func tell() {
    publish { [configuration] state in
      let election = state.election
      guard election.configuration.voters.contains(election.configuration.name) else { return }
      // Not before it has a majority's word.
      let isHeld = election.role == .leader && (election.isAlone || election.deadline != nil)
      state.lease = LeaseState(
        holder: election.leader.map {
          LeaseHolder(name: $0, address: configuration.addresses[$0] ?? "")
        },
        term: election.record.term,
        isHeldHere: isHeld,
        deadline: election.deadline
      )
    }
  }

  private func publish(_ change: (inout State) -> Void) {
    shared.withLock { state in
      let before = state.lease
      change(&state)
      guard state.lease != before else { return }
      for listener in state.listeners.values { listener.yield(state.lease) }
    }
  }
}

/// How an election stands.
package struct QuorumStanding: Hashable, Sendable {
  package var role: Election.Role
  package var term: LeaseTerm
  /// How long this node may act as the primary without further word; nil where it is not, or for good.
  package var remaining: Duration?
  /// How often this node was elected since its start.
  package var elections: Int
  package var problem: String?
}
