/// The next entries of one database, read from the log many at a time where they lie one behind the other.
struct EntriesAhead {
  /// Entries read at once.
  static let most = 64
  /// The same in bytes, but for the first of them.
  private static let mostBytes = 256 << 10

  /// An entry that is asked for.
  struct Next {
    var index: LogIndex
    /// How many of the database's entries, this one included, are known to lie one behind the other.
    var run: Int
    /// What was read before is of no use once this has changed.
    var epoch: Int
  }

  private var entries: ArraySlice<LogEntry> = []
  private var epoch = 0

  mutating func entry(_ next: Next, from log: Log) throws(StoreError) -> LogEntry {
    if epoch != next.epoch || entries.first?.id.index != next.index {
      entries = []
      epoch = next.epoch
      guard next.run > 1 else { return try log.entry(at: next.index) }
      let last = LogIndex(next.index.rawValue + UInt64(next.run) - 1)
      entries = try log.entries(from: next.index, through: last, maxBytes: Self.mostBytes)[...]
    }
    return entries.isEmpty ? try log.entry(at: next.index) : entries.removeFirst()
  }
}
