import LTX
@testable import Store

/// The databases of a node of the simulated world, and which part of them would survive a crash.
struct SimulatedStore {
  /// Pages of each database.
  static let pages = 4

  /// A transaction: one page of one database takes another content.
  struct Change: Equatable {
    var database: Int
    var page: Int
    var content: Int
    /// Counts the transactions of the database.
    var transaction: Int
  }

  struct Database {
    var pages = Array(repeating: 0, count: SimulatedStore.pages)
    /// What the pages should be, as the table of their checksums says.
    var sums = Array(repeating: 0, count: SimulatedStore.pages)
    var transaction = 0
    /// The log is applied up to this entry.
    var entry = 0
    /// A crash may have left parts of what came up to this entry: nobody reads before it is applied.
    var undecided = 0

    mutating func apply(_ change: Change) {
      pages[change.page] = change.content
      sums[change.page] = change.content
      transaction = change.transaction
    }

    var position: Position {
      var sum = Checksum.empty
      for (page, content) in sums.enumerated() {
        sum = sum.toggling(SimulatedStore.checksum(page, content))
      }
      return Position(txid: TXID(UInt64(transaction)), checksum: sum)
    }
  }

  struct Staging {
    var begin: SnapshotBegin
    var database: Database
  }

  var databases: [Database]
  /// As they are on stable storage.
  var stored: [Database]
  /// How much of the log was known as committed when that was written.
  var storedCommit = 0
  /// What must be fetched from a primary; on stable storage.
  var repairs: Set<Int> = []
  /// Those of them that only have damaged pages.
  var damaged: Set<Int> = []
  /// Whether the log began anew and not all databases have come since; on stable storage.
  var isReset = false
  var staging: [Int: Staging] = [:]
  var commits: CommitIndex

  // While it is the primary.
  /// The entry that began its term.
  var opening: Int?
  /// Whether clients may read and write.
  var isServing = false
  /// The entry for which the writer of each database waits.
  var parked: [Int?]
  var loans: [SimulatedLoan]

  /// What clients write while it is a replica.
  var borrows: [SimulatedBorrow]
  var read: SimulatedBorrow.Read?

  init(databases count: Int, voters: [String], own: String) {
    databases = Array(repeating: Database(), count: count)
    stored = databases
    parked = Array(repeating: nil, count: count)
    loans = Array(repeating: SimulatedLoan(), count: count)
    borrows = Array(repeating: SimulatedBorrow(), count: count)
    commits = Self.commits(0, voters, own)
  }

  var isWhole: Bool { repairs.isEmpty && !isReset }

  func isReadable(_ database: Int) -> Bool {
    !repairs.contains(database) && databases[database].undecided <= databases[database].entry
  }

  static func commits(_ index: Int, _ voters: [String], _ own: String) -> CommitIndex {
    let commits = CommitIndex(LogIndex(UInt64(index)))
    commits.require(majorityOf: Set(voters), own: own)
    return commits
  }

  static func checksum(_ page: Int, _ content: Int) -> Checksum {
    Checksum(
      rawValue: (UInt64(content) &+ 1) &* 0x9E37_79B9_7F4A_7C15 &* UInt64(2 * page + 1)
        | Checksum.flag
    )
  }

  static func name(_ database: Int) -> String { "d\(database)" }

  static func number(_ name: String) -> Int? { Int(name.dropFirst()) }
}

/// Pages of a database that is written meanwhile.
struct SimulatedSnapshot {
  var id: UInt32
  var database: Int
  /// Those that are left to be sent.
  var pages: [Int]
}
