import Replication
import Store
import Testing

@Suite struct CatchUpPlanTests {
  /// A log by the terms of its entries: `[1, 1, 2]` are entries 1.1, 1.2 and 2.3.
  private func log(_ terms: [UInt64], heldFrom first: UInt64 = 1) -> LogSummary {
    var starts: [TermStart] = []
    for (offset, term) in terms.enumerated() where starts.last?.term != Term(term) {
      starts.append(TermStart(term: Term(term), first: LogIndex(UInt64(offset + 1))))
    }
    let last = terms.last.map { EntryID(term: Term($0), index: LogIndex(UInt64(terms.count))) }
    return LogSummary(first: LogIndex(first), last: last ?? .zero, terms: starts)
  }

  private func plan(
    _ primary: LogSummary,
    _ replica: LogSummary,
    wantsReset: Bool = false
  ) -> CatchUpPlan {
    CatchUpPlan(primary: primary, replica: replica, wantsReset: wantsReset)
  }

  @Test func aPrefixIsStreamed() {
    #expect(plan(log([1, 1, 2, 2]), log([1, 1])) == .stream(after: LogIndex(2)))
    #expect(plan(log([1, 1, 2, 2]), log([1, 1, 2])) == .stream(after: LogIndex(3)))
    #expect(plan(log([1, 1]), log([1, 1])) == .stream(after: LogIndex(2)))
    #expect(plan(log([1, 1]), log([])) == .stream(after: .zero))
    #expect(plan(log([]), log([])) == .stream(after: .zero))
  }

  @Test func aDivergedTailIsCut() {
    #expect(plan(log([1, 1, 3, 3]), log([1, 1, 2, 2, 2])) == .truncate(after: LogIndex(2)))
    #expect(plan(log([1, 1, 2]), log([1, 1, 1, 1])) == .truncate(after: LogIndex(2)))
    #expect(plan(log([1, 2]), log([1, 2, 2, 2])) == .truncate(after: LogIndex(2)))
    #expect(plan(log([3]), log([2, 2])) == .truncate(after: .zero))
  }

  @Test func whatIsNoLongerHeldNeedsSnapshots() {
    let primary = log([1, 1, 1, 1, 2, 2], heldFrom: 4)
    let base = CatchUpPlan.reset(base: EntryID(term: Term(2), index: LogIndex(6)))
    #expect(plan(primary, log([1, 1])) == base)
    #expect(plan(primary, log([])) == base)
    #expect(plan(primary, log([1, 1, 1])) == .stream(after: LogIndex(3)))
    // The replica cannot cut where it no longer holds its own log.
    #expect(
      plan(log([1, 1, 2]), log([1, 1, 1, 1, 1, 1], heldFrom: 5))
        == .reset(
          base: EntryID(term: Term(2), index: LogIndex(3))
        )
    )
  }

  @Test func aReplicaThatGaveUpIsReset() {
    #expect(
      plan(log([1, 1]), log([1]), wantsReset: true)
        == .reset(base: EntryID(term: Term(1), index: LogIndex(2)))
    )
  }

  /// After a reset the replica knows the term of its base at the base only.
  @Test func aLogThatWasEmptiedGoesOnFromItsBase() {
    let primary = log([1, 1, 1, 2, 2, 2, 2, 2])
    let base = EntryID(term: Term(2), index: LogIndex(5))
    for terms in [
      [], [TermStart(term: Term(2), first: LogIndex(5))],
      [TermStart(term: Term(2), first: LogIndex(6))],
    ] {
      let emptied = LogSummary(first: LogIndex(6), last: base, terms: terms)
      #expect(plan(primary, emptied) == .stream(after: LogIndex(5)))
    }
    let grown = LogSummary(
      first: LogIndex(6),
      last: EntryID(term: Term(2), index: LogIndex(7)),
      terms: [TermStart(term: Term(2), first: LogIndex(5))]
    )
    #expect(plan(primary, grown) == .stream(after: LogIndex(7)))
    let foreign = LogSummary(
      first: LogIndex(6),
      last: EntryID(term: Term(4), index: LogIndex(5)),
      terms: []
    )
    #expect(plan(primary, foreign) == .reset(base: primary.last))
  }

  /// Against a search entry by entry, over random histories of two logs that obey log matching.
  @Test func agreesWithASearchEntryByEntry() {
    for seed in 0..<2_000 {
      var random = SeededGenerator(seed: UInt64(seed))
      let shared = (0..<Int.random(in: 0...6, using: &random)).reduce(into: [UInt64]()) {
        terms,
        _ in
        terms.append((terms.last ?? 1) + UInt64(Int.random(in: 0...1, using: &random)))
      }
      // The tails are of different terms, as one term has one primary.
      let next = (shared.last ?? 0) + 1
      let a = shared + Array(repeating: next, count: Int.random(in: 0...4, using: &random))
      let b = shared + Array(repeating: next + 1, count: Int.random(in: 0...4, using: &random))
      let expected: CatchUpPlan =
        b.count == shared.count
        ? .stream(after: LogIndex(UInt64(shared.count)))
        : .truncate(after: LogIndex(UInt64(shared.count)))
      #expect(plan(log(a), log(b)) == expected, "seed \(seed): \(a) and \(b)")
    }
  }
}
