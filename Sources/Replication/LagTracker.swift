package import Store

/// How long the oldest entry that is known and not yet applied has been waiting.
///
/// Notes the time at which entries became known and forgets it once they are applied. Holds a bounded
/// number of notes: when there are more, later entries share the time of earlier ones, so that the
/// lag is over- and never understated.
package struct LagTracker: Sendable {
  /// Notes held at a time.
  package static let capacity = 1_024

  private struct Mark {
    var index: LogIndex
    var at: ContinuousClock.Instant
  }
  private var marks: [Mark] = []
  /// Marks before this one are done with; the array is compacted when half of it is.
  private var head = 0
  private var applied = LogIndex.zero

  package init() {}

  /// Entries up to `index` exist since `now`.
  package mutating func note(_ index: LogIndex, at now: ContinuousClock.Instant) {
    guard index > applied, index > (marks.last?.index ?? .zero) else { return }
    if marks.count - head >= Self.capacity {
      marks[marks.count - 1].index = index
    } else {
      marks.append(Mark(index: index, at: now))
    }
  }

  /// Entries up to `index` are applied. It may go back when a log is cut.
  package mutating func apply(_ index: LogIndex) {
    applied = index
    while head < marks.count, marks[head].index <= index { head += 1 }
    if head == marks.count {
      marks.removeAll(keepingCapacity: true)
      head = 0
    } else if head > Self.capacity / 2 {
      marks.removeFirst(head)
      head = 0
    }
  }

  /// Since when the oldest of them has been waiting.
  package var oldest: ContinuousClock.Instant? { head < marks.count ? marks[head].at : nil }

  package func lag(at now: ContinuousClock.Instant) -> Duration {
    guard head < marks.count else { return .zero }
    return max(.zero, now - marks[head].at)
  }
}
