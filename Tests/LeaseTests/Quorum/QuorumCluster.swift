import Synchronization
import Testing

@testable import Lease

/// Voters in one process.
struct QuorumCluster: Sendable {
  /// Long enough for the pauses of a busy machine.
  static let ttl = Duration.milliseconds(500)
  static let patience = Duration.seconds(30)

  let network: MemoryNetwork
  let leases: [String: QuorumLease]

  /// Those that may commit at this moment.
  var holders: [String] {
    leases.filter { $0.value.state.mayCommit(at: LeaseClock.system.now, margin: .zero) }.keys
      .sorted()
  }

  static func with(
    names: [String] = ["a", "b", "c"],
    _ body: (QuorumCluster) async throws -> Void
  ) async throws {
    let network = MemoryNetwork()
    var leases: [String: QuorumLease] = [:]
    for (index, name) in names.enumerated() {
      leases[name] = try QuorumLease(
        .init(
          election: .init(name: name, voters: Set(names), ttl: ttl),
          addresses: Dictionary(uniqueKeysWithValues: names.map { ($0, "\($0):1") })
        ),
        transport: MemoryLink(network: network, name: name),
        storage: MemoryStorage(),
        log: MemoryLog(),
        seed: UInt64(index),
        onRequest: { network.handOver(from: name, to: $0) }
      )
    }
    network.connect(leases)
    let cluster = QuorumCluster(network: network, leases: leases)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for lease in leases.values {
        group.addTask { do { try await lease.run() } catch is CancellationError {} }
      }
      defer { group.cancelAll() }
      try await body(cluster)
    }
    network.connect([:])
  }

  /// Waits until there is one.
  func holder() async throws -> String {
    try await until("there is a holder") { holders.count == 1 }
    return try #require(leases.first { $0.value.state.isHeldHere && holders == [$0.key] }?.key)
  }

  func until(_ what: Comment, _ condition: () -> Bool) async throws {
    let deadline = LeaseClock.system.now + Self.patience
    while !condition() {
      try #require(LeaseClock.system.now < deadline, what)
      try await Task.sleep(for: .milliseconds(2))
    }
  }
}

/// Brings messages at once, but for a voter that is cut off.
final class MemoryNetwork: Sendable {
  private struct State {
    var leases: [String: QuorumLease] = [:]
    var isCutOff: String?
  }

  private let state = Mutex(State())

  func connect(_ leases: [String: QuorumLease]) { state.withLock { $0.leases = leases } }
  func cutOff(_ name: String?) { state.withLock { $0.isCutOff = name } }

  func send(_ bytes: [UInt8], from sender: String, to voter: String) {
    let lease = state.withLock { state in
      state.isCutOff == sender || state.isCutOff == voter ? nil : state.leases[voter]
    }
    lease?.receive(bytes, from: sender)
  }

  /// What the owner of a lease does when it is asked for it.
  func handOver(from name: String, to voter: String) {
    guard let lease = state.withLock({ $0.leases[name] }) else { return }
    Task { try await lease.demote(to: voter) }
  }
}

private struct MemoryLink: ElectionTransport {
  let network: MemoryNetwork
  let name: String

  func send(_ bytes: [UInt8], to voter: String) { network.send(bytes, from: name, to: voter) }
}

private final class MemoryStorage: ElectionStorage {
  private let record = Mutex(ElectionRecord(term: .zero, vote: nil))

  func load() -> ElectionRecord { record.withLock { $0 } }
  func save(_ record: ElectionRecord) { self.record.withLock { $0 = record } }
}

private struct MemoryLog: ElectionLog {
  var last: LogPosition { .zero }
  func fence(_ term: LeaseTerm) -> LogPosition { .zero }
}
