package import Store

/// How a replica's log is brought in line with the primary's.
///
/// Two logs that hold an entry of the same term and index hold the same entries up to it, because a
/// term has one primary and a primary only appends (the log matching property; Ongaro's
/// dissertation, section 3.5). The last entry both have therefore lies in the highest term that
/// occurs in both, at the smaller of the two ends of that term, provided that both know that term
/// from there on; else in a lower one.
package enum CatchUpPlan: Hashable, Sendable {
  /// The replica's log is the beginning of the primary's: entries follow after its last one.
  case stream(after: LogIndex)
  /// The replica cuts its log after the last entry both have; entries follow after it.
  case truncate(after: LogIndex)
  /// The primary no longer holds the entries after the last common one, or there is none: the replica
  /// empties its log, entries follow after `base`, and snapshots of all databases bring the rest.
  case reset(base: EntryID)

  /// The index after which the primary sends entries.
  package var start: LogIndex {
    switch self {
    case .stream(let common), .truncate(let common): common
    case .reset(let base): base.index
    }
  }

  /// Whether a replica would lose by it what a primary that lacks databases cannot make good.
  func hurts(_ replica: LogSummary, followerOf primary: LogSummary) -> Bool {
    switch self {
    case .stream: false
    case .truncate: replica.last > primary.last
    case .reset: true
    }
  }

  /// - Parameter base: where a log that begins anew begins; the primary's last entry if none is given.
  package init(
    primary: LogSummary,
    replica: LogSummary,
    wantsReset: Bool,
    base: EntryID? = nil
  ) {
    guard !wantsReset, let common = Self.lastCommon(primary, replica),
      primary.first <= common.next, replica.first <= common.next
    else {
      self = .reset(base: base ?? primary.last)
      return
    }
    self = replica.last.index == common ? .stream(after: common) : .truncate(after: common)
  }

  /// The entries of one term in a log.
  private struct Span {
    var term: Term
    var first: LogIndex
    var last: LogIndex
  }

  private static func spans(_ log: LogSummary) -> [Span] {
    var spans: [Span] = []
    var end = log.last.index
    // A log that was emptied knows the term of its base there only, and may not list it.
    let isListed = log.terms.last.map { $0.term == log.last.term && $0.first <= end } ?? false
    if !isListed, end > .zero {
      spans.append(Span(term: log.last.term, first: end, last: end))
      end = LogIndex(end.rawValue - 1)
    }
    for start in log.terms.reversed() where start.first <= end && start.term <= log.last.term {
      spans.append(Span(term: start.term, first: start.first, last: end))
      guard start.first > .zero else { break }
      end = LogIndex(start.first.rawValue - 1)
    }
    return spans
  }

  /// Zero when both logs begin at the first entry and share none; nil when no entry can be told to be
  /// common.
  private static func lastCommon(_ a: LogSummary, _ b: LogSummary) -> LogIndex? {
    let others = spans(b)
    for span in spans(a) {
      guard let other = others.first(where: { $0.term == span.term }) else { continue }
      let common = min(span.last, other.last)
      if common >= max(span.first, other.first) { return common }
    }
    return a.first <= LogIndex(1) && b.first <= LogIndex(1) ? .zero : nil
  }
}
