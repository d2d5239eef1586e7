internal import Glibc
internal import Store
internal import Synchronization

/// Making, removing and renaming.
extension FileSystem {
  func makeDirectory(_ request: FuseRequest, _ parent: NodeID, _ name: String, mode: UInt32) {
    make(request, parent, name) { (path) throws(SystemCallError) in
      try tree.makeDirectory(path, mode: mode, owner: request.owner)
    }
  }

  func makeNode(_ request: FuseRequest, _ parent: NodeID, _ name: String, mode: UInt32) {
    if mode & S_IFMT == S_IFREG || mode & S_IFMT == 0 {
      return makeRegular(request, parent, name, mode: mode)
    }
    make(request, parent, name) { (path) throws(SystemCallError) in
      try tree.makeNode(path, mode: mode, owner: request.owner)
    }
  }

  func makeSymbolicLink(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    target: String
  ) {
    make(request, parent, name) { (path) throws(SystemCallError) in
      try tree.makeLink(path, to: target, owner: request.owner)
    }
  }

  func makeHardLink(
    _ request: FuseRequest,
    _ node: NodeID,
    _ parent: NodeID,
    _ name: String
  ) {
    make(request, parent, name) { (path) throws(SystemCallError) in
      let existing = try self.path(node)
      try refuseVirtual(existing)
      try stored { () throws(StoreError) in try backend.makeWay(at: existing) }
      try tree.makeHardLink(path, to: existing)
    }
  }

  private func make(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    _ body: (String) throws(SystemCallError) -> Void
  ) {
    serve(request) { () throws(SystemCallError) in
      let path = try self.path(parent, name)
      try refuseVirtual(path)
      try stored { () throws(StoreError) in try backend.makeWay(at: path) }
      do {
        // Also where it could only be made, and not be given to its owner.
        defer { backend.namesChanged() }
        try body(path)
      }
      replyEntry(request, parent, name, try tree.attributes(path))
    }
  }

  func readLink(_ request: FuseRequest, _ node: NodeID) {
    serve(request) { () throws(SystemCallError) in
      request.reply(link: try tree.linkTarget(try path(node)))
    }
  }

  func remove(_ request: FuseRequest, _ parent: NodeID, _ name: String) {
    serve(request) { () throws(SystemCallError) in
      let path = try self.path(parent, name)
      try refuseVirtual(path)
      let attributes = try self.attributes(at: path)
      backend.remove(FileName(path)) { [self] error in
        if let error { return request.fail(error.errorNumber) }
        state.withLock {
          $0.inodes.removeName(
            attributes.identity,
            parent,
            name,
            isLast: attributes.links <= 1
          )
        }
        request.succeed()
      }
    }
  }

  func removeDirectory(_ request: FuseRequest, _ parent: NodeID, _ name: String) {
    serve(request) { () throws(SystemCallError) in
      let path = try self.path(parent, name)
      let attributes = try tree.attributes(path)
      try stored { () throws(StoreError) in try backend.makeWay(at: path) }
      try tree.removeDirectory(path)
      backend.namesChanged()
      state.withLock {
        $0.inodes.removeName(attributes.identity, parent, name, isLast: true)
      }
      request.succeed()
    }
  }

  /// The flags are those of renameat2; white-outs are for stacked file systems and refused.
  func rename(
    _ request: FuseRequest,
    _ parent: NodeID,
    _ name: String,
    _ newParent: NodeID,
    _ newName: String,
    flags: UInt32
  ) {
    serve(request) { () throws(SystemCallError) in
      let (noReplace, exchange) = (RenameFlag.noReplace, RenameFlag.exchange)
      guard flags & ~(noReplace | exchange) == 0 else { throw SystemCallError(EINVAL) }
      let source = try path(parent, name)
      let target = try path(newParent, newName)
      try refuseVirtual(source)
      try refuseVirtual(target)
      let moved = try attributes(at: source)
      let replaced = try? attributes(at: target)
      backend.rename(
        source,
        to: target,
        noReplace: flags & noReplace != 0,
        exchange: flags & exchange != 0
      ) { [self] error in
        if let error { return request.fail(error.errorNumber) }
        state.withLock { state in
          if let replaced, replaced.identity != moved.identity {
            if flags & exchange != 0 {
              state.inodes.move(replaced.identity, parent, name)
            } else {
              state.inodes.removeName(
                replaced.identity,
                newParent,
                newName,
                isLast: replaced.isDirectory || replaced.links <= 1
              )
            }
          }
          // Two names of one file: the rename does nothing (rename(2)).
          if replaced?.identity != moved.identity {
            state.inodes.move(moved.identity, newParent, newName)
          }
        }
        request.succeed()
      }
    }
  }

  func fileSystemStatus(_ request: FuseRequest) {
    serve(request) { () throws(SystemCallError) in
      request.reply(fileSystem: try tree.fileSystem())
    }
  }
}

/// linux/fs.h
private enum RenameFlag {
  static let noReplace: UInt32 = 1 << 0
  static let exchange: UInt32 = 1 << 1
}
