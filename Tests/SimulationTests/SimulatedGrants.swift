@testable import Store
import Synchronization

/// What a primary of the simulated world has lent of one database; the queue is the real one.
struct SimulatedLoan {
  enum Party: Hashable, Sendable {
    case own
    /// A connection, and what was asked for over it.
    case replica(Int, GrantID)
  }

  var queue = GrantQueue<Party>(owner: .own)
  /// Grants that were given or asked for, and have not ended.
  var granted: Set<Party> = []
  /// The last entry that a replica has written and that is not applied yet.
  var unapplied: Int?
  /// Grants that are given back once it is.
  var returning: [Party] = []
}

/// A database of a replica of the simulated world whose clients write; what becomes of what was sent the real
/// `SentTransaction` and `CommitIndex` say.
struct SimulatedBorrow {
  enum Phase: Equatable {
    case none
    case asked(GrantID)
    /// Given; to be used once everything up to the entry is applied.
    case held(GrantID, through: Int)

    var id: GrantID? {
      switch self {
      case .none: nil
      case .asked(let id), .held(let id, _): id
      }
    }
  }

  /// A transaction of a client that has not heard what has become of it.
  struct Attempt {
    var request: Int
    var sent: SentTransaction
    /// The end of the node's log when it was sent.
    var before: Int
    var since: Int
    /// Once it is in the node's log: whether it is committed.
    var answer: Answer?
  }

  /// Where `CommitIndex` puts its answer.
  final class Answer: Sendable {
    /// False where nobody can tell.
    let isCommitted = Mutex<Bool?>(nil)
  }

  /// A client that wants to see all that was committed when it came.
  struct Read {
    var id: GrantID
    /// The last transaction of each database that was committed then, as nobody in the world knows it.
    var floor: [Int]
    var since: Int
    /// What the node must have applied; nil before the primary has said so.
    var index: Int?
  }

  var phase = Phase.none
  var isRecalled = false
  var attempt: Attempt?
}
