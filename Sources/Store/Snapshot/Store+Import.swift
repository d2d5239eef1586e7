import Glibc
package import LTX
import Synchronization

extension Store {
  /// Makes the content of a SQLite file the content of a database, as one transaction.
  ///
  /// - Parameter path: a file in the data directory's file system, which this call takes over.
  /// - Returns: the database's position afterwards.
  /// - Throws: `.readOnly` on a replica, `.invalid` for a file that is no SQLite database, `.busy`
  ///   when a client has the database open in WAL mode, or clients of a replica are writing it.
  package func importDatabase(_ name: String, from path: String) throws(StoreError) -> Position {
    guard role == .primary else { throw readOnly(name) }
    guard FileName(name).role == .main, !name.isEmpty, !name.hasPrefix("/"),
      !name.split(separator: "/").contains("..")
    else {
      throw StoreError(.invalid, "\(name) cannot be the name of a database")
    }
    guard isWriter(of: name) else { throw lentAway(name) }
    let disk = context.disk
    let source = try disk.open(path, [.write])
    guard let header = try DatabaseHeader.read(source) else {
      throw StoreError(.invalid, "the file is not a SQLite database")
    }
    // The import brings all of the content, so nothing that went wrong with the old matters.
    database(name)?.state.withLock { state in
      state.failed = nil
      state.main = nil
      state.known = nil
      state.damaged = [:]
    }
    let target = context.tree + "/" + name
    if let slash = target.lastIndex(of: "/") { try disk.makeDirectory(String(target[..<slash])) }
    if try disk.information(target) == nil {
      try disk.rename(path, to: target)
      let directory = target.lastIndex(of: "/").map { String(target[..<$0]) } ?? context.tree
      try disk.share(target, like: directory)
      try adoptIfDatabase(name)
    } else {
      try replace(name, with: source, header)
      try disk.remove(path)
    }
    guard let position = database(name)?.published.position, position.txid > .zero else {
      throw StoreError(.corrupt, "database \(name) could not be recorded; see the node's log")
    }
    try log.confirmAndWait(through: log.last.index)
    return position
  }

  /// Writes the pages over those of an existing database, under its EXCLUSIVE lock.
  private func replace(
    _ name: String,
    with source: any DiskFile,
    _ header: DatabaseHeader
  ) throws(StoreError) {
    let database = makeDatabase(name)
    // The daemon's own reading would not keep it from the lock.
    guard !database.mainLocks.isLocked(MainLock.shared),
      database.mainLocks.tryLock(.write, MainLock.pending, briefly: true),
      database.mainLocks.tryLock(.write, MainLock.shared, briefly: true)
    else {
      database.mainLocks.unlock(owner: .daemon, range: MainLock.pending)
      throw StoreError(
        .busy,
        "database \(name) is in use; close the connections to it and try again"
      )
    }
    defer {
      // Nobody is to take the old size for the new one.
      usleep(Self.longestBelief)
      database.mainLocks.releaseAll(owner: .daemon)
    }
    try database.state.withLock { state throws(StoreError) in
      // It may have been lent meanwhile.
      guard isWriter(of: database) else { throw lentAway(name) }
      try database.checkpointAlone(in: &state)
      let main = try database.mainFile(&state)
      let old = try DatabaseHeader.read(main)?.changeCounter ?? 0
      try copy(source, to: main, changeCounter: max(old, header.changeCounter) &+ 1)
      state.wal.forget()
      state.walFile = nil
      state.index = nil
      for suffix in ["-wal", "-shm"] {
        let path = database.path(suffix)
        if try context.disk.information(path) != nil { try context.disk.remove(path) }
      }
      _ = try database.captureAll(in: &state, database.recorder)
    }
    tellCommitted(database)
  }

  /// Copies a database file. The change counter tells clients that what they have cached is old.
  private func copy(
    _ source: any DiskFile,
    to main: any DiskFile,
    changeCounter: UInt32
  ) throws(StoreError) {
    let size = try source.information().size
    var offset: Int64 = 0
    while offset < size {
      var bytes = try source.readBytes(1 << 20, at: offset)
      guard !bytes.isEmpty else { break }
      if offset == 0, bytes.count >= DatabaseHeader.bytes {
        bytes.withUnsafeMutableBytes { raw in
          raw.storeBigEndian(changeCounter, at: 24)
          raw.storeBigEndian(changeCounter, at: 92)
        }
      }
      try main.writeAll(bytes, at: offset)
      offset += Int64(bytes.count)
    }
    try main.truncate(to: size)
  }
}
