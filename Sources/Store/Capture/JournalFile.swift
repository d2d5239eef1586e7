import LTX
import Synchronization

/// A rollback journal whose file may be longer than it, because the file has been that of an earlier one.
///
/// A file of its own for each transaction costs SQLite's syncs the file system's bookkeeping: new blocks, a new
/// size, a new name, all of which a sync must make durable. What overwrites blocks that are there needs none of that.
///
/// After a crash nothing must be taken for a part of a journal that is not. What lies behind the journal's end
/// is shown to nobody, and is made unfit for it before each sync. An earlier journal's end is durable
/// before anything is written over it. And that of this one's beginning is not before its records are:
/// those that SQLite writes with a header that counts them already would else be the earlier one's in part.
final class JournalFile: DiskFile {
  private struct Extent {
    /// The bytes of the journal, and of its file.
    var size: Int64
    var length: Int64
    /// Whether blocks of an earlier journal lie under it that it has not been synced over.
    var isUsed: Bool
    var hasSynced = false
  }

  private enum Phase {
    case bounded(Extent)
    /// The journal is over, and the file has gone to the next one.
    case over
    /// What the file has is the journal.
    case whole
  }

  /// Bytes of a journal up to which its file is kept for the next one.
  static let longestSpare: Int64 = 256 << 10

  let file: any DiskFile
  private let phase: Mutex<Phase>
  /// The end of the journal before this one, until it is durable.
  private let ending = Mutex<JournalEnding?>(nil)

  /// - Parameter size: the bytes that the journal has, which are all of the file.
  init(_ file: any DiskFile, size: Int64) {
    self.file = file
    phase = Mutex(.bounded(Extent(size: size, length: size, isUsed: false)))
  }

  /// An empty journal in the file of one that has ended.
  init(after ending: JournalEnding) {
    file = ending.file
    phase = Mutex(.bounded(Extent(size: 0, length: ending.length, isUsed: true)))
    self.ending.withLock { $0 = ending }
  }

  var descriptor: Int32 { file.descriptor }

  var visibleSize: Int64? {
    phase.withLock { phase in
      switch phase {
      case .bounded(let extent): extent.size
      case .over: 0
      case .whole: nil
      }
    }
  }

  /// Whether the journal can be written without waiting for the disk.
  var isReady: Bool { ending.withLock { $0?.isDurable != false } }

  /// Blocks until it can be.
  func makeReady() throws(StoreError) {
    try ending.withLock({ $0 })?.makeDurable()
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    guard let size = visibleSize else { return try file.read(into: buffer, at: offset) }
    let count = Int(max(0, min(Int64(buffer.count), size - offset)))
    guard count > 0 else { return 0 }
    return try file.read(
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]),
      at: offset
    )
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    try makeReady()
    try change { phase throws(StoreError) in
      guard case .bounded(var extent) = phase else { return try file.write(bytes, at: offset) }
      defer { phase = .bounded(extent) }
      let end = offset + Int64(bytes.count)
      // What it grows by after its first sync SQLite may count in a header before it is durable.
      if extent.hasSynced, end > extent.size, extent.size < extent.length {
        try file.truncate(to: extent.size)
        extent.length = extent.size
      }
      // What is left out reads as zeros.
      if offset > extent.size, extent.size < extent.length {
        let gap = Int(min(offset, extent.length) - extent.size)
        try file.writeAll([UInt8](repeating: 0, count: gap), at: extent.size)
      }
      try file.write(bytes, at: offset)
      extent.size = max(extent.size, end)
      extent.length = max(extent.length, end)
    }
  }

  func truncate(to size: Int64) throws(StoreError) {
    try makeReady()
    ending.withLock { $0 = nil }
    try change { phase throws(StoreError) in
      guard case .bounded(var extent) = phase else { return try file.truncate(to: size) }
      defer { phase = .bounded(extent) }
      // Longer than it is, its end would be what another journal has left.
      if extent.size < extent.length { try file.truncate(to: extent.size) }
      extent.length = extent.size
      try file.truncate(to: size)
      extent.size = size
      extent.length = size
    }
  }

  func information() throws(StoreError) -> DiskFileInformation {
    var information = try file.information()
    if let size = visibleSize { information.size = size }
    return information
  }

  private func change(_ body: (inout Phase) throws(StoreError) -> Void) throws(StoreError) {
    try withPhase { phase throws(StoreError) in
      if case .over = phase {
        throw StoreError(.busy, "a rollback journal that is over cannot be changed")
      }
      try body(&phase)
    }
  }

  private func withPhase(_ body: (inout Phase) throws(StoreError) -> Void) throws(StoreError) {
    let failure = phase.withLock { phase -> StoreError? in
      do throws(StoreError) {
        try body(&phase)
        return nil
      } catch { return error }
    }
    if let failure { throw failure }
  }
}

// MARK: Syncs

extension JournalFile {
  /// The bytes of a header that say how many records there are: the magic number and the count.
  private static let countedBytes = 12

  func sync() throws(StoreError) {
    try makeReady()
    // That an earlier journal has ended is all there is to be made durable.
    if visibleSize == 0, ending.withLock({ $0 != nil }) { return }
    if let count = try beginSync() {
      // First the records, then that there are any.
      let failure = StoreError.catching { () throws(StoreError) in try file.sync() }
      try withPhase { phase throws(StoreError) in
        if case .bounded = phase { try file.writeAll(count, at: 0) }
      }
      if let failure { throw failure }
    }
    try file.sync()
    phase.withLock { phase in
      guard case .bounded(var extent) = phase else { return }
      extent.hasSynced = true
      extent.isUsed = false
      phase = .bounded(extent)
    }
  }

  /// - Returns: what the header says of the records, where it must not do so before they are durable; then it does not
  ///   any more.
  private func beginSync() throws(StoreError) -> [UInt8]? {
    var count: [UInt8]?
    try withPhase { phase throws(StoreError) in
      guard case .bounded(var extent) = phase else { return }
      if extent.size < extent.length { try separate(&extent) }
      phase = .bounded(extent)
      guard extent.isUsed, extent.size >= Int64(Self.countedBytes) else { return }
      let head = try file.readBytes(Self.countedBytes, at: 0)
      // Where as many count as there are, they were never to be synced, and what they name may have been written.
      let isUncounted = head.dropFirst(8).allSatisfy { $0 == 0xff }
      guard !isUncounted, head.contains(where: { $0 != 0 }) else { return }
      try file.writeAll([UInt8](repeating: 0, count: head.count), at: 0)
      count = head
    }
    return count
  }

  /// Sees to it that nobody who finds the file after a crash takes what follows the journal for a part of it: SQLite
  /// looks for another header at the next sector, and at the end of the file for the name of a super-journal.
  private func separate(_ extent: inout Extent) throws(StoreError) {
    let (size, length) = (extent.size, extent.length)
    let tail = try file.readBytes(8, at: max(0, size - 8))
    let word = tail.count == 8 ? tail.withUnsafeBytes { $0.bigEndian(UInt64.self, at: 0) } : 0
    if word == RollbackJournal.magic {
      try file.truncate(to: size)
      extent.length = size
      return
    }
    let head = try file.readBytes(RollbackJournal.headerBytes, at: 0)
    guard head.count == RollbackJournal.headerBytes else { return }
    let sector = Int64(head.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 20) })
    guard RollbackJournal.sectorRange.contains(Int(sector)) else { return }
    let next = (size + sector - 1) / sector * sector
    guard next < length else { return }
    try file.writeAll([UInt8](repeating: 0, count: Int(min(8, length - next))), at: next)
  }
}

// MARK: The end

/// The end of a rollback journal whose file stays: until it is durable a crash brings the journal back, and nothing
/// may be written over it.
final class JournalEnding: Sendable {
  let file: any DiskFile
  /// The bytes of the file.
  let length: Int64
  private let durable: Atomic<Bool>
  /// Held while the file is synced. Whether a sync has failed: the kernel then calls clean what it could not write,
  /// and the next sync says nothing of it.
  private let hasFailed = Mutex(false)

  init(_ file: any DiskFile, length: Int64, isDurable: Bool) {
    self.file = file
    self.length = length
    durable = Atomic(isDurable)
  }

  var isDurable: Bool { durable.load(ordering: .acquiring) }

  /// - Parameter isNeeded: also where SQLite needs none.
  func makeDurable(isNeeded: Bool = false) throws(StoreError) {
    guard isNeeded || !isDurable else { return }
    let failure = hasFailed.withLock { hasFailed -> StoreError? in
      guard isNeeded || !isDurable else { return nil }
      return StoreError.catching { () throws(StoreError) in
        if hasFailed { try clear() }
        hasFailed = true
        try file.sync()
        hasFailed = false
        durable.store(true, ordering: .releasing)
      }
    }
    guard let failure else { return }
    durable.store(false, ordering: .releasing)
    throw failure
  }

  /// Makes the header that of no journal.
  func clear() throws(StoreError) {
    try file.writeAll([UInt8](repeating: 0, count: RollbackJournal.headerBytes), at: 0)
  }
}

extension JournalFile {
  /// Whether the file can stay when the journal ends: it is short, and has one segment and no super-journal.
  var canStay: Bool {
    guard case .bounded(let extent) = phase.withLock({ $0 }), extent.length <= Self.longestSpare
    else { return false }
    do throws(StoreError) {
      guard let journal = try RollbackJournal(self, unsynced: true) else { return false }
      return journal.isSingle ? try journal.superJournal() == nil : false
    } catch { return false }
  }

  /// The journal has ended: what it holds must not be played back any more.
  ///
  /// - Parameter isOver: whether it is removed; else it is empty, and goes on with the next transaction.
  /// - Returns: nil where the file cannot stay, and nothing was done.
  func finish(isOver: Bool) throws(StoreError) -> JournalEnding? {
    guard canStay else { return nil }
    var end: JournalEnding?
    try change { phase throws(StoreError) in
      guard case .bounded(let extent) = phase else { return }
      // What SQLite has never synced it does not need after a crash either.
      let new = JournalEnding(file, length: extent.length, isDurable: !extent.hasSynced)
      try new.clear()
      end = new
      phase =
        isOver ? .over : .bounded(Extent(size: 0, length: extent.length, isUsed: true))
    }
    if !isOver { ending.withLock { $0 = end } }
    return end
  }

  /// Gives back the blocks of an empty journal.
  func shrink() throws(StoreError) {
    try change { phase throws(StoreError) in
      guard case .bounded(let extent) = phase, extent.size == 0, extent.length > 0 else { return }
      try file.truncate(to: 0)
      phase = .bounded(Extent(size: 0, length: 0, isUsed: false))
    }
  }

  /// The file is not to be longer than the journal any more.
  func release() throws(StoreError) {
    try change { phase throws(StoreError) in
      guard case .bounded(let extent) = phase else { return }
      if extent.size < extent.length { try file.truncate(to: extent.size) }
      phase = .whole
    }
  }
}
