internal import CFuse3
internal import Glibc
internal import Store
internal import Synchronization

/// What a request changes of a file's attributes; nil is left alone.
struct AttributeChange: Sendable {
  var mode: UInt32?
  var uid: UInt32?
  var gid: UInt32?
  var size: Int64?
  /// Access and modification, with `UTIME_NOW` and `UTIME_OMIT`.
  var accessed = timespec(tv_sec: 0, tv_nsec: HALITE_UTIME_OMIT)
  var modified = timespec(tv_sec: 0, tv_nsec: HALITE_UTIME_OMIT)

  var changesTimes: Bool {
    accessed.tv_nsec != HALITE_UTIME_OMIT || modified.tv_nsec != HALITE_UTIME_OMIT
  }
}

extension FileSystem {
  func lookUp(_ request: FuseRequest, _ parent: NodeID, _ name: String) {
    serve(request) { () throws(SystemCallError) in
      let path = try self.path(parent, name)
      if let file = backend.virtualFile(path) {
        let node = state.withLock { $0.inodes.lookUp(virtual: path, parent, name) }
        if !request.reply(entry: node, Self.attributes(file, path)) { forget(node, 1) }
        return
      }
      do throws(SystemCallError) {
        replyEntry(request, parent, name, try attributes(at: path))
      } catch {
        let validity = backend.absence(of: FileName(path))
        guard error.number == ENOENT, validity > 0 else { throw error }
        request.reply(absentFor: validity)
      }
    }
  }

  func getAttributes(_ request: FuseRequest, _ node: NodeID, handle: UInt64?) {
    serve(request) { () throws(SystemCallError) in
      let found = try attributes(node, handle: handle)
      request.reply(attributes: found, stability: stability(of: node))
    }
  }

  /// How long the kernel may rely on what it knows of a file, in seconds; what has no name it asks for.
  ///
  /// Of a file that it passes through, kernels before 6.13 do not know the size after a write.
  func stability(of node: NodeID) -> Double {
    let (path, passes) = state.withLock { ($0.inodes.path(node), $0.passthrough != nil) }
    guard let path, Self.keepsSizes || !passes else { return 0 }
    return backend.stability(of: FileName(path))
  }

  private static let keepsSizes = KernelRelease.running.isAtLeast(6, 13)

  func setAttributes(
    _ request: FuseRequest,
    _ node: NodeID,
    handle: UInt64?,
    _ change: AttributeChange
  ) {
    serve(request) { () throws(SystemCallError) in
      let file = try handle.map { handle throws(SystemCallError) in try self.file(handle) }
      guard !state.withLock({ $0.inodes.isVirtual(node) }) else { throw .notPermitted }
      guard let size = change.size else {
        return try apply(change, request, node, file)
      }
      let name: FileName
      if let path = state.withLock({ $0.inodes.path(node) }) {
        name = FileName(path)
      } else if let mounted = (file ?? anyFile(node))?.mounted {
        name = mounted.name
      } else {
        throw .stale
      }
      backend.truncate(name, file?.mounted, to: size) { [self] error in
        if let error { return request.fail(error.errorNumber) }
        serve(request) { () throws(SystemCallError) in
          try apply(change, request, node, file)
        }
      }
    }
  }

  /// Everything but the size, then the answer.
  private func apply(
    _ change: AttributeChange,
    _ request: FuseRequest,
    _ node: NodeID,
    _ file: OpenFile?
  ) throws(SystemCallError) {
    if let mounted = (file ?? anyFile(node))?.mounted {
      try apply(change, to: mounted.file.descriptor)
    } else if change.mode != nil || change.uid != nil || change.gid != nil || change.changesTimes {
      let descriptor = try tree.openForAttributes(try path(node))
      defer { close(descriptor) }
      let found = try BackingTree.attributes(of: descriptor).identity
      guard state.withLock({ $0.inodes.identity(node) }) == found else { throw .stale }
      // A directory's own attributes are made durable with its names.
      defer { backend.namesChanged() }
      try apply(change, to: descriptor)
    }
    let changed = try attributes(node, handle: file?.handle)
    request.reply(attributes: changed, stability: stability(of: node))
  }

  private func apply(_ change: AttributeChange, to file: Int32) throws(SystemCallError) {
    // The owner first: changing it clears the set-user-ID bits.
    if change.uid != nil || change.gid != nil {
      try BackingTree.setOwner(of: file, uid: change.uid, gid: change.gid)
    }
    if let mode = change.mode { try BackingTree.setMode(of: file, mode) }
    if change.changesTimes {
      try BackingTree.setTimes(of: file, (change.accessed, change.modified))
    }
  }

  /// The attributes of the file itself, whatever its name has become.
  func attributes(
    _ node: NodeID,
    handle: UInt64?
  ) throws(SystemCallError) -> FileAttributes {
    let file = state.withLock { state in
      handle.flatMap { state.files[$0] }
        ?? state.services[node]?.handles.first.flatMap { state.files[$0] }
    }
    switch file?.content {
    case .mounted(let mounted):
      return try Self.attributes(of: mounted)
    case .virtual(let contents):
      return Self.attributes(contents, try path(node))
    case nil:
      break
    }
    let path = try self.path(node)
    if state.withLock({ $0.inodes.isVirtual(node) }) {
      guard let contents = backend.virtualFile(path) else { throw SystemCallError(ENOENT) }
      return Self.attributes(contents, path)
    }
    let found = try attributes(at: path)
    guard state.withLock({ $0.inodes.identity(node) }) == found.identity else { throw .stale }
    return found
  }

  /// Those of what the mount shows at a path of the tree.
  func attributes(at path: String) throws(SystemCallError) -> FileAttributes {
    let presence = backend.presence(of: FileName(path))
    if presence == .absent { throw SystemCallError(ENOENT) }
    var found = try tree.attributes(path)
    if case .ofSize(let size) = presence { found.size = UInt64(size) }
    return found
  }

  static func attributes(of mounted: MountedFile) throws(SystemCallError) -> FileAttributes {
    var found = try BackingTree.attributes(of: mounted.file.descriptor)
    if let size = mounted.file.visibleSize { found.size = UInt64(size) }
    return found
  }

  static func attributes(_ file: VirtualFile, _ path: String) -> FileAttributes {
    FileAttributes(
      virtual: file.contents.count,
      modified: file.modified,
      mode: file.mode,
      inode: virtualInode(path)
    )
  }

  /// FNV-1a of the path, with the top bit set: no file system counts its inodes that far.
  static func virtualInode(_ path: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in path.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash | 1 << 63
  }
}
