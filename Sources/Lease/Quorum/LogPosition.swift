/// Where a log ends: compared by term first, then by index (Ongaro's dissertation, section 3.6.1).
package struct LogPosition: Hashable, Comparable, Sendable {
  package var term: LeaseTerm
  package var index: UInt64

  package init(term: LeaseTerm, index: UInt64) {
    self.term = term
    self.index = index
  }

  package static let zero = LogPosition(term: .zero, index: 0)
  package static func < (a: LogPosition, b: LogPosition) -> Bool {
    a.term == b.term ? a.index < b.index : a.term < b.term
  }
}

/// What a voter keeps on stable storage: the last term it knows of and whom it voted for in it.
package struct ElectionRecord: Hashable, Sendable {
  package var term: LeaseTerm
  package var vote: String?

  package init(term: LeaseTerm, vote: String?) {
    self.term = term
    self.vote = vote
  }
}
