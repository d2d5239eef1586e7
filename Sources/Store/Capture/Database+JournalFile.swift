import Glibc
import LTX
import Synchronization

/// Where a database's rollback journal is.
enum JournalPlace: Sendable {
  /// At its name in the tree, if there is one.
  case tree
  case open(JournalFile)
  /// There is none, and at its name lies the file for the next one.
  case spare(JournalEnding, isIdle: Bool)
}

extension Database {
  /// - Parameter keeps: whether the journal is that of a transaction of this node's clients.
  func openJournal(_ options: DiskOpenOptions, keeps: Bool) throws(StoreError) -> any DiskFile {
    try journalPlace { place throws(StoreError) in
      switch place {
      case .spare(let ending, _):
        guard options.contains(.create) else { throw Self.noJournal(path("-journal")) }
        let journal = JournalFile(after: ending)
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
      let journal = JournalFile(file, size: try file.information().size)
      place = .open(journal)
      return journal
    }
  }

  /// The journal, or nil where there is none.
  func journalFile() throws(StoreError) -> (any DiskFile)? {
    try journalPlace { place throws(StoreError) in
      switch place {
      case .spare: nil
      case .open(let journal): journal
      case .tree: try context.disk.openIfPresent(path("-journal"))
      }
    }
  }

  /// A journal that a client has made.
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

  /// Empties the journal of a transaction that is over.
  ///
  /// - Returns: nil where the file cannot stay as long as it is, and nothing was done.
  func emptyJournalFile(_ journal: JournalFile) -> JournalEnding? {
    guard mayKeepJournal, openedJournal === journal else { return nil }
    return (try? journal.finish(isOver: false)) ?? nil
  }

  /// Whether the log has the database: what a journal's end commits is durable there, whenever the file is.
  var mayKeepJournal: Bool { published.position.txid > .zero }

  /// Removes the journal of a transaction that is over.
  ///
  /// - Returns: what is to be made durable before there is another journal; nil where there is no file any more.
  func endJournalFile() throws(StoreError) -> JournalEnding? {
    let ending = try journalPlace { place throws(StoreError) -> JournalEnding? in
      if case .spare = place { throw Self.noJournal(path("-journal")) }
      guard case .open(let journal) = place else { return nil }
      if mayKeepJournal, let ending = (try? journal.finish(isOver: true)) ?? nil {
        place = .spare(ending, isIdle: false)
        return ending
      }
      try journal.release()
      place = .tree
      return nil
    }
    if ending == nil { try context.disk.remove(path("-journal")) }
    return ending
  }

  /// Removes the journal, or what is kept in its place, if there is any.
  func removeJournal() throws(StoreError) {
    try releaseJournal()
    let path = path("-journal")
    if try context.disk.information(path) != nil { try context.disk.remove(path) }
  }

  /// Lets the journal's name be used by others: it is about to get another one, or to be somebody else's.
  ///
  /// - Returns: whether a name has gone from the directory.
  @discardableResult
  func releaseJournal() throws(StoreError) -> Bool {
    try journalPlace { place throws(StoreError) in
      defer { place = .tree }
      switch place {
      case .tree: return false
      case .open(let journal):
        try journal.release()
        return false
      case .spare:
        try removeSpare()
        return true
      }
    }
  }

  /// Removes what is kept for a next journal that does not come.
  func releaseIdleJournal() throws(StoreError) {
    let isFull = context.health.isFull
    try journalPlace { place throws(StoreError) in
      switch place {
      case .tree: return
      case .open(let journal): if isFull { try journal.shrink() }
      case .spare(let ending, isIdle: false) where !isFull:
        place = .spare(ending, isIdle: true)
      case .spare:
        try removeSpare()
        place = .tree
      }
    }
  }

  private func removeSpare() throws(StoreError) {
    do throws(StoreError) { try context.disk.remove(path("-journal")) } catch {
      // Its directory may have been given another name.
      guard error.code == .system(ENOENT) else { throw error }
    }
  }

  /// Makes durable that a journal which has ended will not come back; not that it has no name any more.
  func syncJournal() throws(StoreError) {
    let ending = journalPlaces.withLock { place in
      if case .spare(let ending, _) = place { return JournalEnding?.some(ending) }
      return nil
    }
    if let ending { return try ending.makeDurable(isNeeded: true) }
    // By a descriptor of its own: what fails here is still to be told to whoever syncs by another.
    try context.disk.openForMapping(path("-journal"))?.sync()
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
