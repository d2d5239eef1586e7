import LTX

extension Store {
  /// Moves what the write-ahead log or hot journal of a database new to the store holds into its
  /// main file, as SQLite's recovery would, so that the main file alone is the database.
  func foldCompanions(_ name: String) throws(StoreError) {
    let disk = context.disk
    let path = context.tree + "/" + name
    guard let main = try disk.openForMapping(path), try DatabaseHeader.read(main) != nil else {
      return
    }
    if let file = try disk.openIfPresent(path + "-journal"),
      var journal = try RollbackJournal(file)
    {
      let parent = try journal.superJournal()
      // Without its super-journal it is left over from a transaction that was committed.
      let isOver = try parent.map { (name) throws(StoreError) in try context.find(name) == nil }
      if isOver != true { try journal.playBack(into: main) }
      try disk.remove(path + "-journal")
    }
    if let wal = try disk.openIfPresent(path + "-wal") {
      try fold(wal, into: main)
      try main.sync()
      try disk.remove(path + "-wal")
      if try disk.information(path + "-shm") != nil { try disk.remove(path + "-shm") }
    }
  }

  private func fold(_ wal: any DiskFile, into main: any DiskFile) throws(StoreError) {
    let head = try wal.readBytes(WALHeader.bytes, at: 0)
    guard let header = head.withUnsafeBytes({ WALHeader($0) }) else { return }
    let frameBytes = Int(header.frameBytes)
    var sum = header.sum
    var offset = Int64(WALHeader.bytes)
    var pending: [(page: UInt32, offset: Int64)] = []
    while true {
      let frame = try wal.readBytes(frameBytes, at: offset)
      guard frame.count == frameBytes else { return }
      let parsed = frame.withUnsafeBytes { raw -> WALFrame? in
        let parsed = WALFrame(raw)
        let head = UnsafeRawBufferPointer(rebasing: raw[0..<WALFrame.headerBytes])
        let content = UnsafeRawBufferPointer(rebasing: raw[WALFrame.headerBytes...])
        return parsed.follows(sum, in: header, header: head, content: content) ? parsed : nil
      }
      guard let parsed else { return }
      pending.append((parsed.page, offset + Int64(WALFrame.headerBytes)))
      sum = parsed.sum
      offset += Int64(frameBytes)
      guard parsed.commit > 0 else { continue }
      let held = try main.information().size / Int64(header.pageSize.bytes)
      guard
        header.canReach(pages: parsed.commit, from: UInt32(clamping: held), frames: pending.count)
      else { return }
      for (page, at) in pending where page <= parsed.commit {
        let bytes = try wal.readBytes(header.pageSize.bytes, at: at)
        try main.writeAll(bytes, at: PageNumber(page).offset(header.pageSize))
      }
      pending = []
      try main.truncate(to: Int64(parsed.commit) * Int64(header.pageSize.bytes))
    }
  }
}
