import LTX
import Synchronization
import Testing

@testable import Store

struct ReadGateTests {
  /// The node follows nobody any more while it is looked what has been applied.
  @Test func aReaderIsAnsweredThatWasLookedAtWhenTheGateEnded() throws {
    let fixture = try StoreFixture()
    let database = fixture.store.makeDatabase("a.db")
    let opened = Mutex<ReadGate?>(nil)
    let left = Mutex(0)
    let gate = ReadGate(
      ask: { GrantID(1) },
      hasApplied: { _, _ in
        let gate = opened.withLock { opened in
          defer { opened = nil }
          return opened
        }
        if let gate {
          let waiting = gate.end().count
          left.withLock { $0 += waiting }
        }
        return false
      }
    )
    opened.withLock { $0 = gate }
    let answers = Mutex(0)
    gate.enter(database) { _ in answers.withLock { $0 += 1 } }
    gate.received(GrantID(1), LogIndex(5))
    #expect(answers.withLock { $0 } + left.withLock { $0 } == 1)
  }
}
