import LTX
import Synchronization

// On a replica the daemon is a client of every database. Of one with a write-ahead log it is the only
// writer: it holds the WRITE lock for good, and, so that no reader ever finds reason to recover or
// to remove the log, the shared lock on the dead-man switch and a SHARED lock on the main file.

extension Database {
  /// Whether the daemon writes this database through a write-ahead log.
  func isInWALMode(_ state: DatabaseState) -> Bool {
    state.wal.header != nil && state.walFile != nil && state.index != nil
  }

  /// Begins a write-ahead log where the database says that it is to have one.
  ///
  /// The caller has the database to itself: nobody has opened it yet, or it holds the EXCLUSIVE lock.
  func enterWALModeIfSaid(in state: inout DatabaseState) throws(StoreError) {
    guard let size = state.pageSize, state.pages > 0,
      let header = try DatabaseHeader.read(try mainFile(&state)), header.readVersion == 2
    else { return }
    guard sharedMemoryLocks.tryLock(.write, WALLock.write),
      sharedMemoryLocks.tryLock(.read, WALLock.deadManSwitch)
    else {
      sharedMemoryLocks.unlock(owner: .daemon, range: WALLock.write)
      throw StoreError(
        .busy,
        "another client holds locks of database \(name) that only the node may hold here"
      )
    }
    let disk = context.disk
    let file = try disk.open(path("-wal"), [.write, .create, .truncate])
    let memory = try disk.open(path("-shm"), [.write, .create, .truncate])
    for suffix in ["-wal", "-shm"] { try disk.share(path(suffix), like: path()) }
    try memory.truncate(to: Int64(SharedMemory.regionBytes))
    // The kernel's cache may stand between: then it is mapped through the mount, as clients do.
    let seen = try disk.open(sharedMemoryPath, [.write])
    let index = WALIndex(memory: try SharedMemory(seen))
    let wal = WALHeader(
      pageSize: size,
      sequence: 0,
      salt1: context.random(),
      salt2: context.random()
    )
    try beginWAL(wal, file, index, in: &state)
    state.walFile = file
    state.index = index
    _ = mainLocks.tryLock(.read, MainLock.shared)
  }

  /// Ends the write-ahead log: everything goes to the main file.
  ///
  /// The caller holds the EXCLUSIVE lock, so no client has the log open.
  func leaveWALMode(in state: inout DatabaseState) throws(StoreError) {
    try checkpointAlone(in: &state)
    state.index = nil
    state.walFile = nil
    state.wal.forget()
    for suffix in ["-wal", "-shm"] where try context.disk.information(path(suffix)) != nil {
      try context.disk.remove(path(suffix))
    }
    sharedMemoryLocks.releaseAll(owner: .daemon)
  }

  /// What an interrupted transaction left in free pages, before this node became a replica, is not
  /// what the log says: those pages are to be fetched.
  func refuseIfStrayed(_ state: inout DatabaseState) throws(StoreError) {
    guard state.strayed, let size = state.pageSize, state.pages > 0 else { return }
    state.checksums = try mainFile(&state).checksums(size, pages: Int(state.pages))
    state.failed = StoreError(
      .diverged,
      "database \(name) waits for pages from the primary that a crash has spoilt"
    )
    publish(state)
  }

  /// Gives up the EXCLUSIVE lock; with a write-ahead log the daemon stays a reader.
  func unlockExclusive() {
    if state.withLock({ isInWALMode($0) }) {
      let shared = LockRequest(owner: .daemon, kind: .read, range: MainLock.shared)
      mainLocks.set(shared, wait: false) { _ in }
    } else {
      mainLocks.unlock(owner: .daemon, range: MainLock.shared)
    }
    mainLocks.unlock(owner: .daemon, range: MainLock.pending)
  }

  func releaseDaemonLocks() {
    mainLocks.releaseAll(owner: .daemon)
    sharedMemoryLocks.releaseAll(owner: .daemon)
  }
}
