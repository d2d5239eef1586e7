import Synchronization
import Testing

@testable import Lease

/// A voter whose disk is full, and one that starts again.
@Suite struct QuorumStorageTests {
  private let storage = FailingStorage()
  private let log = FencedLog()
  private let sent = SentMessages()

  private func lease() throws -> QuorumLease {
    try QuorumLease(
      .init(
        election: .init(name: "a", voters: ["a", "b", "c"], ttl: .seconds(60)),
        addresses: [:]
      ),
      transport: sent,
      storage: storage,
      log: log,
      seed: 1
    )
  }

  /// Lets others go on, unless the time limit of the test is over.
  private func pause() async throws {
    try Task.checkCancellation()
    await Task.yield()
  }

  @Test(.timeLimit(.minutes(1)))
  func nothingIsToldOfATermThatIsNotStored() async throws {
    let lease = try lease()
    storage.isFull.withLock { $0 = true }
    for sequence in 1...2 {
      let message = ElectionMessage(LeaseTerm(7), .heartbeat(sequence: UInt64(sequence)))
      lease.receive(message.encoded(), from: "b")
    }
    while storage.attempts.withLock({ $0 }) < 2 { try await pause() }
    storage.isFull.withLock { $0 = false }
    lease.receive(ElectionMessage(LeaseTerm(7), .heartbeat(sequence: 3)).encoded(), from: "b")
    while sent.messages.withLock({ $0.isEmpty }) { try await pause() }
    #expect(storage.record.withLock { $0.term } == LeaseTerm(7))
    let sequences = sent.messages.withLock { messages in
      messages.map { message -> UInt64 in
        guard case .heartbeatReply(let sequence, _, _) = message.body else { return 0 }
        return sequence
      }
    }
    #expect(sequences == [3])
  }

  @Test func aVoterThatStartsAgainFencesItsLog() throws {
    storage.record.withLock { $0 = ElectionRecord(term: LeaseTerm(7), vote: "b") }
    _ = try lease()
    #expect(log.term.withLock { $0 } == LeaseTerm(7))
  }
}

private final class FailingStorage: ElectionStorage {
  struct Full: Error {}
  let record = Mutex(ElectionRecord(term: .zero, vote: nil))
  let isFull = Mutex(false)
  let attempts = Mutex(0)

  func load() -> ElectionRecord { record.withLock { $0 } }
  func save(_ record: ElectionRecord) throws {
    attempts.withLock { $0 += 1 }
    if isFull.withLock({ $0 }) { throw Full() }
    self.record.withLock { $0 = record }
  }
}

private final class FencedLog: ElectionLog {
  let term = Mutex(LeaseTerm.zero)

  var last: LogPosition { .zero }
  func fence(_ term: LeaseTerm) -> LogPosition {
    self.term.withLock { $0 = term }
    return .zero
  }
}

private final class SentMessages: ElectionTransport {
  let messages = Mutex<[ElectionMessage]>([])

  func send(_ bytes: [UInt8], to voter: String) {
    guard let message = ElectionMessage(bytes) else { return }
    messages.withLock { $0.append(message) }
  }
}
