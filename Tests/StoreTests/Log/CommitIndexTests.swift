import Synchronization
import Testing

@testable import Store

/// When entries count as committed.
struct CommitIndexTests {
  private static func voters(_ count: Int) -> (CommitIndex, [String]) {
    let index = CommitIndex(.zero)
    let names = (0..<count).map { "n\($0)" }
    index.require(majorityOf: Set(names), own: "n0")
    return (index, names)
  }

  /// What has come of a wait.
  private final class Wait: Sendable {
    let outcome = Mutex("waits")

    init(_ index: CommitIndex, for entry: UInt64) {
      let refusal = StoreError(.readOnly, "not the primary")
      index.wait(for: LogIndex(entry), isForwarded: false, orElse: refusal) { [self] error in
        outcome.withLock { $0 = error.map { "\($0.code)" } ?? "committed" }
      }
    }

    var text: String { outcome.withLock { $0 } }
  }

  @Test(arguments: [1, 2, 3, 4, 5, 7])
  func aMajorityCounts(voters count: Int) {
    let (index, names) = Self.voters(count)
    index.begin(at: LogIndex(1))
    let needed = count / 2 + 1
    let waits = Wait(index, for: 10)
    for have in 1...count {
      // This node itself is the last of those needed, or one of the others is.
      if have < count { index.match(names[have], LogIndex(10)) { .zero } }
      let isCommitted = have >= needed && have < count
      #expect((index.index == LogIndex(10)) == isCommitted || have == count)
    }
    index.count(durable: LogIndex(10))
    #expect(index.index == LogIndex(10))
    #expect(waits.text == "committed")
  }

  /// The own sync ends while another voter's word is taken in: one of the two finds the other.
  @Test func aSyncThatEndsMeanwhileCounts() {
    let (index, names) = Self.voters(3)
    index.begin(at: LogIndex(1))
    let waits = Wait(index, for: 5)
    index.match(names[1], LogIndex(5)) {
      index.count(durable: LogIndex(5))
      return LogIndex(4)
    }
    #expect(index.index == LogIndex(5))
    #expect(waits.text == "committed")
  }

  /// What earlier terms have left is not committed by who has it, but with an entry of this term.
  @Test func entriesOfEarlierTermsAreNotCounted() {
    let (index, names) = Self.voters(3)
    index.begin(at: LogIndex(8))
    index.match(names[1], LogIndex(7)) { LogIndex(8) }
    #expect(index.index == .zero)
    index.match(names[2], LogIndex(8)) { LogIndex(8) }
    #expect(index.index == LogIndex(8))
  }

  @Test func aNewTermForgetsWhatWasAcknowledgedInTheOld() {
    let (index, names) = Self.voters(3)
    index.begin(at: LogIndex(1))
    index.match(names[1], LogIndex(20)) { LogIndex(5) }
    #expect(index.index == LogIndex(5))
    index.begin(at: LogIndex(6))
    index.count(durable: LogIndex(6))
    #expect(index.index == LogIndex(5))
  }

  /// What was appended in an earlier term may have been cut since, and another entry stand in its place: that it is
  /// committed says nothing.
  @Test func anEntryOfAnEarlierTermIsNotTakenForItsSuccessor() {
    let (index, names) = Self.voters(3)
    index.begin(at: LogIndex(1))
    index.end(StoreError(.system(5), "over"))
    index.advance(to: LogIndex(9))
    #expect(Wait(index, for: 4).text != "committed")
    index.begin(at: LogIndex(10))
    index.match(names[1], LogIndex(10)) { LogIndex(10) }
    #expect(Wait(index, for: 4).text != "committed")
    #expect(Wait(index, for: 10).text == "committed")
  }

  @Test func whoeverWaitsIsToldWhenThePrimaryIsNoneAnyMore() {
    let (index, _) = Self.voters(3)
    #expect(Wait(index, for: 1).text == "\(StoreError.Code.readOnly)")
    index.begin(at: LogIndex(1))
    let waits = Wait(index, for: 2)
    #expect(waits.text == "waits")
    #expect(index.waiting == 1)
    index.end(StoreError(.system(5), "over"))
    #expect(waits.text == "\(StoreError.Code.system(5))")
    #expect(index.waiting == 0)
  }

  @Test func aStrangerDoesNotCount() {
    let (index, _) = Self.voters(3)
    index.begin(at: LogIndex(1))
    index.match("observer", LogIndex(9)) { LogIndex(9) }
    #expect(index.index == .zero)
  }
}
