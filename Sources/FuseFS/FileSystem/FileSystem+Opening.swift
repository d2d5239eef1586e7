internal import CFuse3
internal import Glibc
internal import Logging
internal import Store
internal import Synchronization

/// Opening, creating and releasing files. Only the thread that reads requests comes here, so that
/// looking at a file's service and changing it need not be one critical section.
extension FileSystem {
  func open(_ request: FuseRequest, _ node: NodeID, flags: Int32) {
    serve(request) { () throws(SystemCallError) in
      let path = try self.path(node)
      if state.withLock({ $0.inodes.isVirtual(node) }) {
        return try openVirtual(request, node, path, flags: flags)
      }
      let options = MountOpenOptions(flags: flags)
      let name = FileName(path)
      let mounted = try stored { () throws(StoreError) in try backend.open(name, options) }
      do throws(SystemCallError) {
        let attributes = try Self.attributes(of: mounted)
        guard state.withLock({ $0.inodes.identity(node) }) == attributes.identity else {
          throw .stale
        }
        let reply = admit(mounted, node, isWritable: options.contains(.write), attributes)
        if !request.reply(open: reply) { release(handle: reply.handle) {} }
      } catch {
        backend.close(mounted, wrote: false) { _ in }
        throw error
      }
    }
  }

  private func openVirtual(
    _ request: FuseRequest,
    _ node: NodeID,
    _ path: String,
    flags: Int32
  ) throws(SystemCallError) {
    guard flags & O_ACCMODE == O_RDONLY else { throw SystemCallError(EACCES) }
    guard let contents = backend.virtualFile(path) else { throw SystemCallError(ENOENT) }
    let handle = state.withLock { state in
      let handle = state.nextNumber()
      state.files[handle] = OpenFile(
        handle: handle,
        node: node,
        content: .virtual(contents),
        locks: FileLocks(),
        isWritable: false
      )
      return handle
    }
    let reply = halite_open_out(
      handle: handle,
      flags: UInt32(HALITE_FOPEN_DIRECT_IO),
      backing: 0
    )
    if !request.reply(open: reply) { release(handle: handle) {} }
  }

  func create(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    mode: UInt32,
    flags: Int32
  ) {
    serve(request) { () throws(SystemCallError) in
      let (mounted, attributes) = try make(request, parent, name, mode: mode, flags: flags)
      let node = state.withLock { $0.inodes.lookUp(attributes.identity, parent, name) }
      let isWritable = flags & O_ACCMODE != O_RDONLY
      let open = admit(mounted, node, isWritable: isWritable, attributes)
      let (seconds, rest) = stability(of: node).quotientAndFraction
      let entry = halite_entry_out(
        node: node.number,
        generation: 0,
        entry_valid: seconds,
        attr_valid: seconds,
        entry_valid_nanoseconds: rest,
        attr_valid_nanoseconds: rest,
        attr: attributes.kernelForm
      )
      if !request.reply(created: halite_create_out(entry: entry, open: open)) {
        release(handle: open.handle) {}
        forget(node, 1)
      }
    }
  }

  /// `mknod` of a regular file: created, but not left open.
  func makeRegular(_ request: FuseRequest, _ parent: NodeID, _ name: String, mode: UInt32) {
    serve(request) { () throws(SystemCallError) in
      let (mounted, attributes) = try make(
        request,
        parent,
        name,
        mode: mode,
        flags: O_RDWR | O_EXCL
      )
      backend.close(mounted, wrote: false) { [self] error in
        if let error { return request.fail(error.errorNumber) }
        replyEntry(request, parent, name, attributes)
      }
    }
  }

  /// Creates a file that belongs to the caller, or opens the one that came to be meanwhile.
  private func make(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    mode: UInt32,
    flags: Int32
  ) throws(SystemCallError) -> (MountedFile, FileAttributes) {
    let path = try self.path(parent, name)
    try refuseVirtual(path)
    let file = FileName(path)
    let options = MountOpenOptions(flags: flags)
    do throws(StoreError) {
      let mounted = try backend.open(file, options.union([.create, .exclusive]))
      do throws(SystemCallError) {
        try BackingTree.give(
          mounted.file.descriptor,
          to: request.owner,
          mode: mode,
          in: try attributes(parent, handle: nil)
        )
        return (mounted, try Self.attributes(of: mounted))
      } catch {
        backend.close(mounted, wrote: false) { _ in }
        throw StoreError(.system(error.number), "cannot give \(path) to its owner")
      }
    } catch {
      guard error.errorNumber == EEXIST, flags & O_EXCL == 0 else {
        throw SystemCallError(error.errorNumber)
      }
    }
    let found = try attributes(at: path)
    guard found.isRegular else { throw SystemCallError(EEXIST) }
    let mounted = try stored { () throws(StoreError) in try backend.open(file, options) }
    let attributes = try Self.attributes(of: mounted)
    guard attributes.identity == found.identity else {
      backend.close(mounted, wrote: false) { _ in }
      throw .stale
    }
    return (mounted, attributes)
  }

  // MARK: Services

  /// Enters an opened file and decides how the kernel serves it.
  private func admit(
    _ mounted: MountedFile,
    _ node: NodeID,
    isWritable: Bool,
    _ attributes: FileAttributes
  ) -> halite_open_out {
    let existing = state.withLock { $0.services[node] }
    let service =
      existing
      ?? FileService(way: way(mounted, attributes), locks: backend.locks(of: mounted.name))
    var flags: UInt32 = 0
    var backing: Int32 = 0
    switch service.way {
    case .passthrough(let number):
      flags = UInt32(HALITE_FOPEN_PASSTHROUGH)
      backing = number
    case .cached where existing != nil:
      // What the cache has is newer than the file while somebody maps it.
      flags = UInt32(HALITE_FOPEN_KEEP_CACHE)
    case .cached:
      break
    case .direct:
      flags = UInt32(HALITE_FOPEN_DIRECT_IO)
    }
    if case .daemon = mounted.io { flags |= UInt32(HALITE_FOPEN_DIRECT_IO) }
    let handle = state.withLock { state in
      let handle = state.nextNumber()
      state.files[handle] = OpenFile(
        handle: handle,
        node: node,
        content: .mounted(mounted),
        locks: service.locks,
        isWritable: isWritable
      )
      state.services[node, default: service].handles.append(handle)
      return handle
    }
    return halite_open_out(handle: handle, flags: flags, backing: backing)
  }

  private func way(_ mounted: MountedFile, _ attributes: FileAttributes) -> FileService.Way {
    if case .daemon = mounted.io { return .direct }
    let (passthrough, hasWarned) = state.withLock { ($0.passthrough, $0.hasWarned) }
    if let passthrough {
      do throws(SystemCallError) {
        return .passthrough(try passthrough.register(mounted.file.descriptor))
      } catch  where !hasWarned {
        logger.warning(
          "the kernel refuses to pass a file through; it is served through the daemon, slower",
          metadata: ["file": "\(mounted.name.path)", "errno": "\(error.number)"]
        )
        state.withLock { $0.hasWarned = true }
      } catch {}
    }
    // SQLite maps its shared memory, so that must be cached; a database must not be, since the
    // daemon writes it too. An empty file may become one.
    if mounted.name.role == .sharedMemory { return .cached }
    if case .followed = mounted.io { return .direct }
    return attributes.size == 0 || Self.isDatabase(mounted) ? .direct : .cached
  }

  /// Whether the file begins as a database does (sqlite.org/fileformat2.html, "Magic Header
  /// String").
  private static func isDatabase(_ mounted: MountedFile) -> Bool {
    let magic = Array("SQLite format 3\0".utf8)
    var start = [UInt8](repeating: 0, count: magic.count)
    let count = start.withUnsafeMutableBytes { try? mounted.file.read(into: $0, at: 0) }
    return count == magic.count && start == magic
  }

  // MARK: Closing

  /// A process closed one of its descriptors: its locks on the file go (fcntl, "record locks").
  func flush(_ request: FuseRequest, handle: UInt64, owner: UInt64) {
    serve(request) { () throws(SystemCallError) in
      try file(handle).locks.releaseAll(owner: .kernel(owner)) { request.succeed() }
    }
  }

  func release(_ request: FuseRequest, handle: UInt64) {
    release(handle: handle) { request.succeed() }
  }

  /// The last descriptor of an open is gone: with it go the locks that belong to the open itself.
  private func release(handle: UInt64, done: @escaping @Sendable () -> Void) {
    let (file, unused) = state.withLock { state -> (OpenFile?, (BackingFiles, Int32)?) in
      guard let file = state.files.removeValue(forKey: handle) else { return (nil, nil) }
      guard var service = state.services[file.node] else { return (file, nil) }
      service.handles.removeAll { $0 == handle }
      state.services[file.node] = service.handles.isEmpty ? nil : service
      guard service.handles.isEmpty, case .passthrough(let number) = service.way,
        let passthrough = state.passthrough
      else { return (file, nil) }
      return (file, (passthrough, number))
    }
    if let (passthrough, number) = unused { passthrough.unregister(number) }
    guard let file else { return done() }
    file.locks.releaseAll(handle: handle) { [backend] in
      guard let mounted = file.mounted else { return done() }
      backend.close(mounted, wrote: file.isWritable) { _ in done() }
    }
  }
}

extension Double {
  /// Whole seconds, and nanoseconds.
  fileprivate var quotientAndFraction: (UInt64, UInt32) {
    let seconds = rounded(.down)
    return (UInt64(seconds), UInt32((self - seconds) * 1e9))
  }
}

extension MountOpenOptions {
  /// Whether to create is for the caller to add.
  fileprivate init(flags: Int32) {
    self = []
    if flags & O_ACCMODE != O_RDONLY { insert(.write) }
    if flags & O_TRUNC != 0 { insert(.truncate) }
  }
}
