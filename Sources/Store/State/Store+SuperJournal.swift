import LTX
import Synchronization

extension Store {
  /// Ends a transaction over several databases: its part in each of them is put into the log, and
  /// then the super-journal is removed, which commits it for SQLite.
  func endSuperJournal(_ name: FileName) throws(StoreError) {
    let members = try members(of: name)
    do throws(StoreError) {
      var last: LogIndex?
      for database in members {
        guard let entry = try captureMember(database) else { continue }
        last = entry
        tellCommitted(database)
      }
      if let last { try log.confirmAndWait(through: last) }
      try context.disk.remove(context.tree + "/" + name.path)
    } catch {
      // SQLite rolls back, and the end of that is captured as well: what it brings back differs from
      // the log, and is no damage.
      for database in members {
        database.state.withLock { state in
          state.uncompared = true
          state.isRefused = state.isEnding
        }
      }
      throw error
    }
  }

  private func captureMember(_ database: Database) throws(StoreError) -> LogIndex? {
    // Once the super-journal is gone, whoever finds a journal that names it takes that for finished.
    try database.payMainSync()
    return try captureJournal(of: database)
  }

  private func captureJournal(of database: Database) throws(StoreError) -> LogIndex? {
    try database.state.withLock { state throws(StoreError) in
      guard let journal = try database.journalFile() else {
        return nil
      }
      let entry = try database.captureJournal(journal, in: &state, database.recorder)
      if entry != nil { state.isEnding = true }
      return entry
    }
  }

  /// The databases whose journals say that they belong to this super-journal.
  private func members(of name: FileName) throws(StoreError) -> [Database] {
    let path = context.tree + "/" + name.path
    guard
      let content = try context.disk.contents(path, limit: RollbackJournal.longestSuperJournal)
    else { return [] }
    let listed = RollbackJournal.members(content)
    var members: [Database] = []
    for database in allDatabases {
      // Paths are those that the application uses, so only their ends are known here.
      let ending = "/" + database.name + "-journal"
      guard listed.contains(where: { $0.hasSuffix(ending) }),
        let file = try database.journalFile(),
        let journal = try RollbackJournal(file),
        try journal.superJournal()?.hasSuffix("/" + name.path) == true
      else { continue }
      members.append(database)
    }
    return members
  }
}

extension StoreContext {
  /// Where a file is that an application knows by an absolute path through the mount; nil when it
  /// is not in the tree.
  func find(_ path: String) throws(StoreError) -> String? {
    var rest = path[...]
    while let slash = rest.firstIndex(of: "/") {
      rest = rest[rest.index(after: slash)...]
      let candidate = tree + "/" + rest
      if !rest.isEmpty, try disk.information(candidate)?.isDirectory == false { return candidate }
    }
    return nil
  }
}
