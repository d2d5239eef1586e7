/// The next entries of one database, read from the log many at a time where they lie one behind the other.
struct EntriesAhead {
  /// Entries read at once.
  static let most = 64
  /// Bytes read for each of them; fewer are found where they are larger.
  private static let bytesEach = 8 << 10

  private var entries: ArraySlice<LogEntry> = []
  private var epoch = 0

  /// - Parameters:
  ///   - epoch: what was read before is of no use once this has changed.
  ///   - run: how many of the database's entries, this one included, lie one behind the other in the log and
  ///     may be applied.
  mutating func entry(
    at index: LogIndex,
    epoch: Int,
    from log: Log,
    run: () -> Int
  ) throws(StoreError) -> LogEntry {
    if self.epoch == epoch, entries.first?.id.index == index { return entries.removeFirst() }
    self.epoch = epoch
    entries = []
    let run = run()
    guard run > 1 else { return try log.entry(at: index) }
    let last = LogIndex(index.rawValue + UInt64(run) - 1)
    // What is damaged farther on is found when its turn comes.
    let found = try? log.entries(from: index, through: last, maxBytes: run * Self.bytesEach)
    guard let found, let first = found.first else { return try log.entry(at: index) }
    entries = found.dropFirst()
    return first
  }

  mutating func forget() { entries = [] }
}
