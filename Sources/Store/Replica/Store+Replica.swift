import LTX
import Synchronization

extension Store {
  /// This node follows a primary from now on. To be called before the tree is mounted.
  package func becomeReplica() throws(StoreError) {
    state.withLock { $0.role = .replica }
    for database in allDatabases where database.published.position.txid > .zero {
      try database.state.withLock { state throws(StoreError) in
        try database.refuseIfStrayed(&state)
        try database.enterWALModeIfSaid(in: &state)
      }
    }
  }

  /// Makes the main file of a database that is new to this node.
  func ensureMainFile(_ database: Database) throws(StoreError) {
    let path = database.path()
    guard try context.disk.information(path) == nil else { return }
    let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? context.tree
    try context.disk.makeDirectory(directory)
    _ = try context.disk.open(path, [.write, .create])
    try context.disk.share(path, like: directory)
  }

  /// The database was dropped on the primary.
  ///
  /// Blocks until the entry is durable here: no start may find the database gone and not know why.
  func applyDrop(_ entry: LogEntry) throws(StoreError) {
    guard let database = database(entry.database), !isPast(database, entry) else { return }
    try log.syncAndWait(through: entry.id.index)
    try drop(database)
  }

  /// Whether a snapshot from after an entry has made the database what it is.
  private func isPast(_ database: Database, _ entry: LogEntry) -> Bool {
    database.state.withLock { $0.entry >= entry.id.index }
  }

  private func drop(_ database: Database) throws(StoreError) {
    try erase(database, suffixes: ["", "-wal", "-shm"])
    database.releaseDaemonLocks()
    tell(.dropped(name: database.name))
  }

  /// The database was renamed on the primary. Blocks until the entry is durable here, as a drop does.
  ///
  /// - Returns: false where the new name is left without the database that it should have.
  func applyRename(_ entry: LogEntry) throws(StoreError) -> Bool {
    let target = String(decoding: entry.payload, as: UTF8.self)
    let isThere = self.database(target).map { isPast($0, entry) } ?? false
    guard let database = database(entry.database), !isPast(database, entry) else { return isThere }
    try log.syncAndWait(through: entry.id.index)
    if isThere {
      try drop(database)
      return true
    }
    if let replaced = self.database(target) { try drop(replaced) }
    let path = context.tree + "/" + target
    if let slash = path.lastIndex(of: "/") {
      try context.disk.makeDirectory(String(path[..<slash]))
    }
    try database.noteRename(to: target, by: entry.id.index)
    for suffix in ["", "-wal", "-shm"] {
      let from = database.path(suffix)
      if try context.disk.information(from) != nil {
        try context.disk.rename(from, to: path + suffix)
      }
    }
    for name in Set([database.name, target]) { try context.syncParent(of: name) }
    finishRename(database, to: target)
    return true
  }
}
