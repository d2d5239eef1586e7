import Synchronization

extension Store {
  func openJournal(
    _ name: FileName,
    _ options: DiskOpenOptions
  ) throws(StoreError) -> MountedFile {
    let writes = !options.isDisjoint(with: [.write, .truncate])
    let known = writes ? makeDatabase(name.database) : database(name.database)
    let file =
      if let known {
        try known.openJournal(options, keeps: isWriter(of: known))
      } else {
        try context.disk.open(context.tree + "/" + name.path, options)
      }
    return MountedFile(name: name, file: file, io: .daemon)
  }

  /// A journal that clients have open.
  func openedJournal(_ name: FileName) -> JournalFile? {
    guard name.role == .journal else { return nil }
    return database(name.database)?.openedJournal
  }

  /// A transaction has ended with this, and the next one need not wait for it.
  func makeDurable(_ ending: JournalEnding) {
    guard !ending.isDurable else { return }
    // Whoever writes the next journal tries again.
    workers.promptly { try? ending.makeDurable() }
  }

  package func presence(of name: FileName) -> MountPresence {
    guard name.role == .journal else { return .asOnDisk }
    return database(name.database)?.journalPresence ?? .asOnDisk
  }

  package func makeWay(at path: String) throws(StoreError) {
    let isJournal = FileName(path).role == .journal
    let (stem, below) = (FileName(path).database, path + "/")
    for database in state.withLock({ Array($0.databases.values) }) {
      guard isJournal && database.name == stem || database.name.hasPrefix(below) else { continue }
      try database.releaseJournal()
    }
  }

  package func namesChanged() { context.names.change() }
}
