import LTX
import Synchronization

/// What housekeeping notes of the log, in `state/redo`.
struct RedoPoint: Equatable {
  /// No database needs anything up to this entry to be done again; what lies before may leave the log.
  var redo: LogIndex
  /// Everything up to this entry is committed.
  var committed: LogIndex

  /// The length of the file.
  static let bytes = 24

  private static func path(_ context: StoreContext) -> String { context.stateDirectory + "/redo" }

  /// What was noted last; zeros where that is nothing, or not whole.
  static func load(_ context: StoreContext) throws(StoreError) -> RedoPoint {
    let nothing = RedoPoint(redo: .zero, committed: .zero)
    guard let bytes = try context.disk.contents(path(context), limit: Self.bytes),
      bytes.count == Self.bytes
    else { return nothing }
    return bytes.withUnsafeBytes { raw in
      var crc = CRC64()
      crc.update(UnsafeRawBufferPointer(rebasing: raw[0..<16]))
      guard crc.value == raw.bigEndian(UInt64.self, at: 16) else { return nothing }
      return RedoPoint(
        redo: LogIndex(raw.bigEndian(UInt64.self, at: 0)),
        committed: LogIndex(raw.bigEndian(UInt64.self, at: 8))
      )
    }
  }

  func save(_ context: StoreContext) throws(StoreError) {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(redo.rawValue)
    bytes.appendBigEndian(committed.rawValue)
    var crc = CRC64()
    bytes.withUnsafeBytes { crc.update($0) }
    bytes.appendBigEndian(crc.value)
    try context.disk.replace(Self.path(context), with: bytes, in: context.stateDirectory)
  }
}

extension Store {
  /// Notes where redo would begin now, and what is committed.
  func saveRedoStart() throws(StoreError) -> LogIndex {
    // What a replica has received and not applied must be found by the next start.
    let (engine, lending) = state.withLock { ($0.engine, $0.lending) }
    let applied = min(engine?.appliedThrough ?? .max, lending?.appliedThrough ?? .max)
    let last = min(log.durable, applied)
    let index = allDatabases.reduce(last) { least, database in
      database.state.withLock { state in
        // A database whose last entry is stable has nothing behind it in the log.
        state.entry <= state.stable ? least : min(least, state.stable)
      }
    }
    let point = RedoPoint(redo: index, committed: min(log.committed, log.last.index))
    // A node that has nothing to do leaves the disk alone.
    if state.withLock({ $0.savedRedo }) != point {
      try point.save(context)
      state.withLock { $0.savedRedo = point }
    }
    return index
  }

  /// Lets commits wait for a majority of the voters. To be called before anything is appended.
  ///
  /// - Parameter voters: all of them, this node, `own`, included.
  package func requireMajority(of voters: Set<String>, own: String) throws(StoreError) {
    log.requireMajority(of: voters, own: own, committed: try RedoPoint.load(context).committed)
  }
}
