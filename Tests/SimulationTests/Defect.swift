/// A mistake that the simulator makes on purpose, outside the election, to show that its checks see
/// what comes of it.
enum Defect: String, CaseIterable, Sendable {
  /// `persisted` is answered before the record is on stable storage.
  case voteWithoutPersist
  /// A restarted node remembers its term and not its vote.
  case forgetVoteOnRestart
  /// Voters see each candidate's log as more advanced than any.
  case noLogComparison
  /// Every pre-vote is taken for granted.
  case noPreVote
  /// Voters give votes while they hear a leader.
  case ignoreStickiness
  /// One vote fewer than a majority commits an entry.
  case commitOnMinority
  /// The leader counts acknowledgements that were meant for an earlier term.
  case ignoreTermInAcknowledgements
  /// The leader commits and reads although its lease has run out.
  case leaseNotCheckedAtCommit
  /// A restarted voter does not wait for what it may have promised.
  case grantRightAfterRestart
  /// The log accepts entries of a leader of a lower term.
  case noFence
  /// A replica applies what it has received.
  case applyBeforeCommit
  /// Clocks run more wrong than the margin allows.
  case wildClocks
  /// An acknowledgement counts for the latest round instead of the one it answers.
  case acknowledgeLatestRound
  /// A restarted node has lost its term.
  case forgetTermOnRestart
  /// Databases take entries that are not known to be committed.
  case applyUndecided
  /// After a crash readers are let into a database before it is known what is committed of it.
  case readUndecided
  /// A replica says that it has on stable storage what it has only received.
  case acknowledgeBeforeDurable
  /// A node that lacks databases becomes the primary.
  case leadWithoutDatabases
  /// A node that lacks databases makes others begin anew.
  case resetByTheIncomplete
  /// A new primary lets clients in before the entry that began its term is committed.
  case serveBeforeCurrent
  /// The log is cut before what it did to the databases is on stable storage.
  case cutBeforeWrittenOut
  /// A log begins anew after an entry that may yet be cut.
  case resetToUndecided
  /// What was written while a snapshot was under way is not applied over it.
  case snapshotWithoutItsEntries
  /// After a snapshot the next entry is not applied.
  case snapshotAtItsBegin
  /// A database is lent while a transaction of the primary's own clients is under way.
  case lendWhileWriting
  /// What a node that is elected lacks it takes for lost before it has committed anything.
  case settleWhenElected
  /// A replica lets a client read before it has applied what the primary said.
  case readBeforeApplied
  /// What a replica sent is taken for lost when the connection breaks.
  case loseWithTheConnection

  /// Whether it shows only in worlds with databases.
  var isOfDatabases: Bool {
    switch self {
    case .applyUndecided, .readUndecided, .acknowledgeBeforeDurable,
      .leadWithoutDatabases, .resetByTheIncomplete, .serveBeforeCurrent, .cutBeforeWrittenOut,
      .resetToUndecided,
      .snapshotWithoutItsEntries, .snapshotAtItsBegin, .lendWhileWriting, .settleWhenElected,
      .loseWithTheConnection, .readBeforeApplied:
      true
    default: false
    }
  }

  /// Whether it shows only where clients of replicas write or read the latest.
  var isOfForwarding: Bool {
    switch self {
    case .lendWhileWriting, .settleWhenElected, .readBeforeApplied, .loseWithTheConnection: true
    default: false
    }
  }

  /// Whether the lease hides it, which keeps an old leader from committing anyhow. Such a defect is
  /// looked for in a world that ignores leases, as plain Raft does.
  var isOfSecondLine: Bool { self == .noFence || self == .ignoreTermInAcknowledgements }
}
