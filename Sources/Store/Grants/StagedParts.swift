/// Where the parts of large transactions lie that a replica sends ahead of their commits (`LogEntryKind.stage`): they are
/// needed until the transaction has been applied, or will not come. A value without I/O.
struct StagedParts: Sendable {
  /// The first part of a transaction that has not been committed.
  private var open: LogIndex?
  /// The same of those that are committed and not applied.
  private var unapplied: LogIndex?

  /// The first part that is still needed.
  var first: LogIndex? { unapplied ?? open }

  mutating func staged(_ index: LogIndex) { if open == nil { open = index } }

  mutating func committed() {
    if unapplied == nil { unapplied = open }
    open = nil
  }

  /// All that is committed has been applied.
  mutating func applied() { unapplied = nil }

  /// What is not committed will not be.
  mutating func abandoned() { open = nil }
}
