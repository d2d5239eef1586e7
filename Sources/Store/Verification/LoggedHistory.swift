import LTX

/// What the log says of one database: its transactions one after the other.
struct LoggedHistory {
  /// A page that a transaction wrote.
  struct Write {
    var entry: LogIndex
    var checksum: Checksum
  }

  /// The position after the last transaction.
  private(set) var position: Position?
  /// The entry of the last transaction, drop or rename.
  private(set) var last = LogIndex.zero
  private(set) var pageSize: PageSize?
  private(set) var pages: UInt32 = 0
  /// The newest content of each page the log has, for pages within the database.
  private(set) var writes: [PageNumber: Write] = [:]
  private(set) var transactions = 0

  /// Takes a transaction.
  ///
  /// - Returns: what is wrong with it, if anything is.
  mutating func add(
    _ header: LTXHeader,
    _ digests: [PageDigest],
    _ post: Checksum,
    at entry: LogIndex
  )
    -> String?
  {
    var problem: String?
    if let position {
      if position.txid.next != header.minTXID {
        problem = "transaction \(header.minTXID) follows \(position.txid)"
      } else if !header.isSnapshot, header.preApply != position.checksum {
        problem = "transaction \(header.minTXID) follows from another state than it was left in"
      }
    }
    if pageSize != header.pageSize { writes = [:] }
    pageSize = header.pageSize
    if header.commit < pages { writes = writes.filter { $0.key.rawValue <= header.commit } }
    pages = header.commit
    for digest in digests {
      writes[digest.number] = Write(entry: entry, checksum: digest.checksum)
    }
    position = Position(txid: header.maxTXID, checksum: post)
    last = entry
    transactions += 1
    return problem
  }

  mutating func renamed(at entry: LogIndex) { last = entry }
}
