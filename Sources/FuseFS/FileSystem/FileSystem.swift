internal import Glibc
internal import Logging
internal import Store
internal import Synchronization

/// The mounted file system: answers the kernel's requests from the backing tree and the store.
///
/// One thread reads requests (see `FuseSession`) and calls the methods here; each answers in place
/// when that is quick, or hands the request to whoever finishes it. Only that thread opens and
/// releases files, everything else may happen on any thread.
///
/// Lookups, attributes, directories and reads are answered from the tree. What may be part of a
/// transaction goes to the `MountBackend`.
final class FileSystem: Sendable {
  struct State: Sendable {
    var inodes: InodeTable
    var files: [UInt64: OpenFile] = [:]
    var directories: [UInt64: OpenDirectory] = [:]
    var services: [NodeID: FileService] = [:]
    /// Lock requests that wait, by the token the interrupt handler gets.
    var waits: [UInt64: LockWait] = [:]
    /// Of handles and tokens, which are never used twice.
    var lastNumber: UInt64 = 0
    var passthrough: BackingFiles?
    var hasWarned = false

    mutating func nextNumber() -> UInt64 {
      lastNumber += 1
      return lastNumber
    }
  }

  let backend: any MountBackend
  let tree: BackingTree
  let workers: WorkerPool
  let logger: Logger
  let outstanding = OutstandingRequests()
  let state: Mutex<State>

  init(
    backend: any MountBackend,
    workers: WorkerPool,
    logger: Logger
  ) throws(SystemCallError) {
    self.backend = backend
    self.workers = workers
    self.logger = logger
    tree = try BackingTree(root: backend.tree)
    state = Mutex(State(inodes: InodeTable(root: try tree.attributes("").identity)))
  }

  /// From now on opened files are passed through where possible.
  func usePassthrough(_ backing: BackingFiles) {
    state.withLock { $0.passthrough = backing }
  }

  /// Runs a request's work; an error becomes the answer.
  func serve(_ request: FuseRequest, _ body: () throws(SystemCallError) -> Void) {
    do { try body() } catch { request.fail(error.number) }
  }

  /// What a completion of the store answers.
  static func answer(_ request: FuseRequest) -> MountCompletion {
    { error in request.fail(error?.errorNumber ?? 0) }
  }

  // MARK: Names and files

  /// The path of a name in a directory.
  ///
  /// The log must have room for it, since it may become a database's. As text it can be four times
  /// as long as its bytes, of which the system takes that many.
  func path(_ parent: NodeID, _ name: String) throws(SystemCallError) -> String {
    guard let path = state.withLock({ $0.inodes.path(parent, name) }) else { throw .stale }
    guard path.utf8.count <= LogFormat.maxNameBytes else { throw SystemCallError(ENAMETOOLONG) }
    return path
  }

  func path(_ node: NodeID) throws(SystemCallError) -> String {
    guard let path = state.withLock({ $0.inodes.path(node) }) else { throw .stale }
    return path
  }

  func file(_ handle: UInt64) throws(SystemCallError) -> OpenFile {
    guard let file = state.withLock({ $0.files[handle] }) else { throw .badHandle }
    return file
  }

  /// An open file of the node, through which it can be reached even without a name.
  func anyFile(_ node: NodeID) -> OpenFile? {
    state.withLock { state in
      state.services[node]?.handles.first.flatMap { state.files[$0] }
    }
  }

  /// Refuses to let a name that the node makes up be taken, moved or removed.
  func refuseVirtual(_ path: String) throws(SystemCallError) {
    if backend.virtualFile(path) != nil { throw .notPermitted }
  }

  /// Answers with an entry for the file that was found or made there.
  func replyEntry(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    _ attributes: FileAttributes
  ) {
    let node = state.withLock { $0.inodes.lookUp(attributes.identity, parent, name) }
    if !request.reply(entry: node, attributes, stability: stability(of: node)) { forget(node, 1) }
  }

  func forget(_ node: NodeID, _ count: UInt64) {
    state.withLock { $0.inodes.forget(node, count) }
  }

  /// Lets go of everything the kernel had open: the session is over.
  func closeAll() {
    let (files, waits) = state.withLock { state in
      defer {
        state.files = [:]
        state.directories = [:]
        state.services = [:]
        state.passthrough = nil
      }
      return (state.files, state.waits)
    }
    for wait in waits.values { wait.interrupt() }
    for file in files.values {
      let owners = Set(file.locks.held.filter { $0.handle == file.handle }.map(\.owner))
      for owner in owners { file.locks.releaseAll(owner: owner) }
      file.locks.releaseAll(handle: file.handle) { [backend] in
        if let mounted = file.mounted {
          backend.close(mounted, wrote: file.isWritable) { _ in }
        }
      }
    }
  }
}

/// Runs a call of the store; its error becomes an errno.
func stored<Result>(
  _ body: () throws(StoreError) -> Result
) throws(SystemCallError) -> Result {
  do { return try body() } catch { throw SystemCallError(error.errorNumber) }
}
