import LTX
import Lease
import Store
import Synchronization

/// The vote of this node: `vote` in the data directory, the term and the name of whom it voted for, a line
/// each. Durable before the vote is told to anybody.
final class VoteFile: ElectionStorage {
  private let path: String
  private let directory: String
  private let disk: any Disk
  /// Terms that are on record elsewhere: no vote is given in an earlier one.
  private let least: @Sendable () -> Term

  init(directory: String, disk: any Disk, least: @escaping @Sendable () -> Term) {
    self.directory = directory
    self.disk = disk
    self.least = least
    path = directory + "/vote"
  }

  func load() throws -> ElectionRecord {
    var record = ElectionRecord(term: .zero, vote: nil)
    if let bytes = try disk.contents(path, limit: 1024) {
      let lines = String(decoding: bytes, as: UTF8.self).split(
        separator: "\n",
        omittingEmptySubsequences: false
      )
      guard lines.count == 3, lines[2].isEmpty, let term = UInt64(lines[0]) else {
        throw StoreError(
          .corrupt,
          "\(path) is damaged; while the other voters are running, write into it the highest term that any "
            + "of them shows in `halite status`, and an empty second line"
        )
      }
      record = ElectionRecord(
        term: LeaseTerm(term),
        vote: lines[1].isEmpty ? nil : String(lines[1])
      )
    }
    let least = LeaseTerm(least().rawValue)
    return record.term >= least ? record : ElectionRecord(term: least, vote: nil)
  }

  func save(_ record: ElectionRecord) throws {
    try disk.replace(
      path,
      with: Array("\(record.term)\n\(record.vote ?? "")\n".utf8),
      in: directory
    )
  }
}

/// The log as the election sees it.
final class ElectionView: ElectionLog {
  private let log: Log

  init(_ log: Log) { self.log = log }

  var last: LogPosition { Self.position(log.last) }
  func fence(_ term: LeaseTerm) -> LogPosition { Self.position(log.fence(Term(term.rawValue))) }

  private static func position(_ id: EntryID) -> LogPosition {
    LogPosition(term: LeaseTerm(id.term.rawValue), index: id.index.rawValue)
  }
}
