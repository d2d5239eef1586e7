@testable import Lease

/// A node's log, and which part of it would survive a crash.
struct SimulatedLog {
  struct Entry: Equatable {
    var term: LeaseTerm
    /// No two entries that were ever made have the same.
    var id: Int
    /// What it does to the databases, in worlds that have them.
    var change: SimulatedStore.Change?
  }

  /// All of them, also those that are not held any more.
  var entries: [Entry] = []
  /// The first that is held, from 1.
  var first = 1
  /// How many are on stable storage.
  var durable = 0
  /// Counts truncations: a flush of what was truncated meanwhile means nothing.
  var version = 0
  /// Nothing of a leader of a lower term is accepted.
  var fence = LeaseTerm.zero

  var last: LogPosition {
    LogPosition(term: entries.last?.term ?? .zero, index: UInt64(entries.count))
  }

  /// The term of the entry with this number, from 1; zero before the first.
  func term(_ index: Int) -> LeaseTerm { index == 0 ? .zero : entries[index - 1].term }

  /// The entry that began the term of the last one.
  var startOfLastTerm: Int {
    let term = last.term
    return (entries.lastIndex { $0.term != term } ?? -1) + 2
  }

  mutating func truncate(to count: Int) {
    entries.removeSubrange(count...)
    durable = min(durable, count)
    version += 1
  }
}
