import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// A primary and replicas whose clients write, with queues in the place of the network.
final class ForwardingCluster {
  /// One connection of a replica to the primary. Entries and answers travel on one queue each way.
  final class Link: Sendable {
    private let primary: Store
    private let engine: ReplicaEngine
    private let voter: String
    private let up = DispatchQueue(label: "test.up")
    private let down = DispatchQueue(label: "test.down")
    private let isOpen = Mutex(true)
    private let lender = Mutex<(any GrantLender)?>(nil)
    private let tokens = Mutex<[SubscriptionToken]>([])
    /// Answers that are lost with the connection.
    let losesAnswers = Mutex(false)
    /// Whether the primary hears what the replica has.
    let acknowledges = Mutex(true)
    let requests = Mutex<[GrantRequest]>([])

    init(_ engine: ReplicaEngine, to primary: Store, as voter: String) {
      self.primary = primary
      self.engine = engine
      self.voter = voter
    }

    func open() {
      lender.withLock {
        $0 = primary.lender(to: voter) { [weak self] answer in self?.deliver(answer) }
      }
      let last = primary.log.last.index
      down.async { [self] in
        ship()
        engine.connected(through: last) { [weak self] request in self?.send(request) }
      }
      let appended = primary.onAppend { [weak self] in self?.wakeDown() }
      let progress = engine.onProgress { [weak self] in self?.acknowledge() }
      tokens.withLock { $0 = [appended, progress] }
    }

    private func wakeDown() { down.async { [weak self] in self?.ship() } }

    private func send(_ request: GrantRequest) {
      requests.withLock { $0.append(request) }
      up.async { [weak self] in
        guard let self, isOpen.withLock({ $0 }) else { return }
        lender.withLock { $0 }?.receive(request)
      }
    }

    private func deliver(_ answer: GrantAnswer) {
      guard !losesAnswers.withLock({ $0 }) else { return }
      down.async { [weak self] in
        guard let self, isOpen.withLock({ $0 }) else { return }
        engine.received(answer)
      }
    }

    private func ship() {
      guard isOpen.withLock({ $0 }) else { return }
      while true {
        let next = engine.logSummary().last.index.next
        guard
          let batch = primary.recent(from: next, maxBytes: 1 << 20)
            ?? (try? primary.read(from: next, maxBytes: 1 << 20)),
          (try? engine.append(batch)) != nil
        else { return }
        if batch.last < batch.first { return }
      }
    }

    func acknowledge() {
      up.async { [weak self] in
        guard let self, isOpen.withLock({ $0 }), acknowledges.withLock({ $0 }) else { return }
        primary.acknowledged(by: voter, through: engine.progress().durable)
      }
    }

    /// Nothing comes to the replica until `resume`.
    func pause() { down.suspend() }
    func resume() { down.resume() }

    /// The connection breaks: nothing more gets through, and both sides notice.
    func close() {
      isOpen.withLock { $0 = false }
      tokens.withLock { $0 = [] }
      engine.disconnected()
      lender.withLock { lender in
        lender?.end()
        lender = nil
      }
    }
  }

  let nodes: [StoreFixture]
  private(set) var engines: [ReplicaEngine] = []
  private(set) var links: [Link] = []

  var primary: StoreFixture { nodes[0] }

  /// - Parameter quorum: whether commits wait for a majority.
  init(
    replicas: Int = 1,
    quorum: Bool = false,
    reads: ReadMode = .local(maxStaleness: nil),
    outcomeSeconds: Double = 30
  ) throws {
    let configure: (inout StoreConfiguration) -> Void = {
      $0.reads = reads
      $0.changesRoles = true
      $0.forwards = true
      $0.outcomeSeconds = outcomeSeconds
    }
    let count = replicas + 1
    nodes = try (0..<count).map { _ in try StoreFixture(role: .replica, configure: configure) }
    let voters = Set((0..<count).map { "n\($0)" })
    for (number, node) in nodes.enumerated() where quorum {
      node.store.log.requireMajority(of: voters, own: "n\(number)")
    }
    engines = try nodes.dropFirst().map { try ReplicaEngine(store: $0.store) }
    try primary.store.becomePrimary(Term(1))
    for engine in engines { engine.follow(Term(1)) }
    connect()
  }

  func connect() {
    links = engines.enumerated().map { number, engine in
      let link = Link(engine, to: primary.store, as: "n\(number + 1)")
      link.open()
      return link
    }
  }

  func disconnect() { for link in links { link.close() } }

  /// What holds the wal-index's dead-man switch, as the daemon's lock does on a mount.
  private var switches: [DeadManSwitch] = []
  private let switchesLock = NSLock()

  /// A connection to a database of a node.
  func connect(_ name: String, on node: Int) throws -> Connection {
    let shm = nodes[node].path(name) + "-shm"
    if FileManager.default.fileExists(atPath: shm) {
      let held = try DeadManSwitch(shm)
      switchesLock.withLock { switches.append(held) }
    }
    return try nodes[node].connect(name)
  }

  /// Waits until all nodes are the same.
  func settle() -> Bool {
    eventually {
      engines.allSatisfy { engine in
        engine.logSummary().last == primary.store.log.last && engine.isCurrent
      } && nodes.allSatisfy { $0.store.databases() == primary.store.databases() }
    }
  }

  deinit { disconnect() }
}
