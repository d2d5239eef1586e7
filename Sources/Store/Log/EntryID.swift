/// A period with at most one primary. Terms only grow (Ongaro's dissertation, section 3.3).
package struct Term: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
  package init(_ value: UInt64) { self.rawValue = value }

  package static let zero = Term(0)
  package static func < (a: Term, b: Term) -> Bool { a.rawValue < b.rawValue }
}

extension Term: CustomStringConvertible {
  package var description: String { String(rawValue) }
}

/// The place of an entry in the log; the first is 1, zero stands before all.
package struct LogIndex: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
  package init(_ value: UInt64) { self.rawValue = value }

  package static let zero = LogIndex(0)
  package var next: LogIndex { LogIndex(rawValue + 1) }
  package static func < (a: LogIndex, b: LogIndex) -> Bool { a.rawValue < b.rawValue }
}

extension LogIndex: CustomStringConvertible {
  package var description: String { String(rawValue) }
}

/// Names one entry: two logs that hold an entry of the same identity hold the same entries up to it.
package struct EntryID: Hashable, Comparable, Sendable {
  package var term: Term
  package var index: LogIndex

  package init(term: Term, index: LogIndex) {
    self.term = term
    self.index = index
  }

  package static let zero = EntryID(term: .zero, index: .zero)

  /// Later term first, then later index: which of two logs is more advanced, as Raft compares.
  package static func < (a: EntryID, b: EntryID) -> Bool {
    (a.term, a.index) < (b.term, b.index)
  }
}

extension EntryID: CustomStringConvertible {
  package var description: String { "\(term).\(index)" }
}
