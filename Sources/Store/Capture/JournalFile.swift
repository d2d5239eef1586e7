import Glibc
import LTX
import Synchronization

/// A rollback journal whose file may be longer than it, because the file has been that of an earlier one.
///
/// A file of its own for each transaction costs SQLite's syncs the file system's bookkeeping: new blocks, a new
/// size, a new name, all of which a sync must make durable. What overwrites blocks that are there needs none of that.
/// What lies behind the journal's end is shown to nobody, and is made unfit to be taken for a part of it after a crash.
final class JournalFile: DiskFile {
  private enum Phase {
    /// The journal is this long, and the file has the second length.
    case bounded(size: Int64, length: Int64)
    /// The journal is over, and the file has gone to the next one.
    case over
    /// What the file has is the journal.
    case whole
  }

  let file: any DiskFile
  private let phase: Mutex<Phase>

  /// - Parameters:
  ///   - size: the bytes that the journal has.
  ///   - length: the bytes that the file has.
  init(_ file: any DiskFile, size: Int64, length: Int64) {
    self.file = file
    phase = Mutex(.bounded(size: size, length: length))
  }

  var descriptor: Int32 { file.descriptor }

  var visibleSize: Int64? {
    phase.withLock { phase in
      switch phase {
      case .bounded(let size, _): size
      case .over: 0
      case .whole: nil
      }
    }
  }

  /// Bytes of a journal up to which its file is kept for the next one.
  static let longestSpare: Int64 = 256 << 10

  /// Whether the file may be kept for the next journal, as far as its length goes.
  var isShort: Bool {
    phase.withLock { phase in
      if case .bounded(_, let length) = phase { return length <= Self.longestSpare }
      return false
    }
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
    try change { phase throws(StoreError) in
      guard case .bounded(let size, let length) = phase else {
        return try file.write(bytes, at: offset)
      }
      // What is left out reads as zeros.
      if offset > size, size < length {
        let gap = Int(min(offset, length) - size)
        try file.writeAll([UInt8](repeating: 0, count: gap), at: size)
      }
      try file.write(bytes, at: offset)
      let end = max(size, offset + Int64(bytes.count))
      phase = .bounded(size: end, length: max(end, length))
    }
  }

  func truncate(to size: Int64) throws(StoreError) {
    try change { phase throws(StoreError) in
      // Longer than it is, its end would be what another journal has left.
      if case .bounded(let end, let length) = phase, end < length { try file.truncate(to: end) }
      try file.truncate(to: size)
      if case .bounded = phase { phase = .bounded(size: size, length: size) }
    }
  }

  func sync() throws(StoreError) {
    try change { phase throws(StoreError) in
      guard case .bounded(let size, let length) = phase, size < length else { return }
      if try separate(size, length) { phase = .bounded(size: size, length: size) }
    }
    try file.sync()
  }

  func information() throws(StoreError) -> DiskFileInformation {
    var information = try file.information()
    if let size = visibleSize { information.size = size }
    return information
  }

  /// The file is not to be longer than the journal any more.
  func end() throws(StoreError) {
    try change { phase throws(StoreError) in
      if case .bounded(let size, let length) = phase, size < length { try file.truncate(to: size) }
      if case .bounded = phase { phase = .whole }
    }
  }

  /// The journal has ended: what it holds must not be played back any more.
  ///
  /// - Parameter isOver: whether it is removed; else it is empty, and goes on with the next transaction.
  /// - Returns: the length of the file, which can be that of another journal now; nil where it cannot, and nothing
  ///   was done.
  func finish(isOver: Bool) throws(StoreError) -> Int64? {
    guard isShort, case .bounded(_, let length) = phase.withLock({ $0 }),
      try RollbackJournal(self, unsynced: true)?.isSingle == true
    else { return nil }
    try change { phase throws(StoreError) in
      try file.writeAll([UInt8](repeating: 0, count: RollbackJournal.headerBytes), at: 0)
      phase = isOver ? .over : .bounded(size: 0, length: length)
    }
    return length
  }

  private func change(_ body: (inout Phase) throws(StoreError) -> Void) throws(StoreError) {
    let failure = phase.withLock { phase -> StoreError? in
      do throws(StoreError) {
        guard case .over = phase else {
          try body(&phase)
          return nil
        }
        return StoreError(.busy, "a rollback journal that is over cannot be changed")
      } catch { return error }
    }
    if let failure { throw failure }
  }

  /// Sees to it that nobody who finds the file after a crash takes what follows the journal for a part of it: SQLite
  /// looks for another header at the next sector, and at the end of the file for the name of a super-journal.
  ///
  /// - Returns: whether the file now ends with the journal.
  private func separate(_ size: Int64, _ length: Int64) throws(StoreError) -> Bool {
    let tail = try file.readBytes(8, at: max(0, size - 8))
    if tail.count == 8,
      tail.withUnsafeBytes({ $0.bigEndian(UInt64.self, at: 0) }) == RollbackJournal.magic
    {
      try file.truncate(to: size)
      return true
    }
    let head = try file.readBytes(RollbackJournal.headerBytes, at: 0)
    guard head.count == RollbackJournal.headerBytes else { return false }
    let sector = Int64(head.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 20) })
    guard RollbackJournal.sectorRange.contains(Int(sector)) else { return false }
    let next = (size + sector - 1) / sector * sector
    if next < length {
      try file.writeAll([UInt8](repeating: 0, count: Int(min(8, length - next))), at: next)
    }
    return false
  }
}

/// Where a database's rollback journal is.
enum JournalPlace: Sendable {
  /// At its name in the tree, if there is one.
  case tree
  case open(JournalFile)
  /// There is none, and at its name lies a file for the next one.
  case spare(any DiskFile, length: Int64)
}

extension Database {
  /// - Parameter keeps: whether the journal is that of a transaction of this node's clients.
  func openJournal(_ options: DiskOpenOptions, keeps: Bool) throws(StoreError) -> any DiskFile {
    try journalPlace { place throws(StoreError) in
      switch place {
      case .spare(let file, let length):
        guard options.contains(.create) else { throw Self.noJournal(path("-journal")) }
        let journal = JournalFile(file, size: 0, length: length)
        place = .open(journal)
        return journal
      case .open(let journal):
        // It is there, as the disk will say.
        if options.contains(.exclusive) { break }
        if options.contains(.truncate) { try journal.truncate(to: 0) }
        return journal
      case .tree: break
      }
      let file = try context.disk.open(path("-journal"), options)
      guard keeps, options.isSuperset(of: [.write, .create]) else { return file }
      let size = try file.information().size
      let journal = JournalFile(file, size: size, length: size)
      place = .open(journal)
      return journal
    }
  }

  /// The journal, or nil where there is none.
  ///
  /// - Parameter options: for one that nobody has open.
  func journalFile(_ options: DiskOpenOptions = []) throws(StoreError) -> (any DiskFile)? {
    try journalPlace { place throws(StoreError) in
      switch place {
      case .spare: nil
      case .open(let journal): journal
      case .tree: try context.disk.openIfPresent(path("-journal"), options)
      }
    }
  }

  var openedJournal: JournalFile? {
    journalPlaces.withLock { place in
      if case .open(let journal) = place { return journal }
      return nil
    }
  }

  /// What the mount shows of the journal.
  var journalPresence: MountPresence {
    journalPlaces.withLock { place in
      switch place {
      case .tree: .asOnDisk
      case .open(let journal): journal.visibleSize.map { .ofSize($0) } ?? .asOnDisk
      case .spare: .absent
      }
    }
  }

  /// Removes the journal of a transaction that is over.
  ///
  /// - Parameter isLogged: whether the log has every page that the journal names. Only then its file may be that
  ///   of the next one: after a crash that file could be a mixture of the two that nobody can tell from the journal,
  ///   and what that brings back is done again from the log.
  func endJournalFile(isLogged: Bool) throws(StoreError) {
    try journalPlace { place throws(StoreError) in
      if case .spare = place { throw Self.noJournal(path("-journal")) }
      if isLogged, case .open(let journal) = place,
        let length = (try? journal.finish(isOver: true)) ?? nil
      {
        place = .spare(journal.file, length: length)
        return
      }
      try letGo(&place)
      try context.disk.remove(path("-journal"))
    }
  }

  /// Empties the journal of a transaction that is over.
  ///
  /// - Parameter isLogged: see `endJournalFile`.
  /// - Returns: false where nothing was done.
  func emptyJournalFile(isLogged: Bool) -> Bool {
    guard isLogged, let length = try? openedJournal?.finish(isOver: false) else { return false }
    return length > 0
  }

  /// Removes the journal, or what is kept in its place, if there is any.
  func removeJournal() throws(StoreError) {
    try journalPlace { place throws(StoreError) in
      try letGo(&place)
      let path = path("-journal")
      if try context.disk.information(path) != nil { try context.disk.remove(path) }
    }
  }

  /// Lets the journal's name be used by others: it is about to get another one, or to be somebody else's.
  func releaseJournal() throws(StoreError) {
    try journalPlace { place throws(StoreError) in try letGo(&place) }
  }

  /// Makes durable that a journal which has ended will not come back.
  func syncJournal() throws(StoreError) {
    let file = try journalPlace { place throws(StoreError) -> (any DiskFile)? in
      switch place {
      case .spare(let file, _): file
      case .open(let journal): journal
      case .tree: try context.disk.openForMapping(path("-journal"))
      }
    }
    try file?.sync()
  }

  private func letGo(_ place: inout JournalPlace) throws(StoreError) {
    switch place {
    case .tree: break
    case .open(let journal): try journal.end()
    case .spare: try context.disk.remove(path("-journal"))
    }
    place = .tree
  }

  private static func noJournal(_ path: String) -> StoreError {
    StoreError(.system(ENOENT), "there is no \(path)")
  }

  private func journalPlace<T>(
    _ body: (inout JournalPlace) throws(StoreError) -> T
  ) throws(StoreError) -> T {
    let result = journalPlaces.withLock { place -> Result<T, StoreError> in
      do throws(StoreError) { return .success(try body(&place)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}
