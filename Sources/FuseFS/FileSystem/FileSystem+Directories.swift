internal import CFuse3
internal import Glibc
internal import Store
internal import Synchronization

/// Listing directories. A listing is a snapshot taken when it begins, or begins anew,
/// so that what is added and removed meanwhile neither hides nor doubles other entries. What the node
/// makes up (`.primary`, `x.db-pos`) is in none: programs copy and remove what they find listed.
extension FileSystem {
  func openDirectory(_ request: FuseRequest, _ node: NodeID) {
    serve(request) { () throws(SystemCallError) in
      let directory = OpenDirectory(
        node: node,
        descriptor: DirectoryDescriptor(try tree.openDirectory(try path(node)))
      )
      let handle = state.withLock { state in
        let handle = state.nextNumber()
        state.directories[handle] = directory
        return handle
      }
      if !request.reply(open: .init(handle: handle, flags: 0, backing: 0)) {
        state.withLock { $0.directories[handle] = nil }
      }
    }
  }

  /// - Parameter path: that of the directory; nil where it has been removed.
  private func entries(
    _ descriptor: DirectoryDescriptor,
    _ path: String?
  ) throws(SystemCallError) -> [DirectoryEntry] {
    let all = try BackingTree.list(descriptor.number)
    guard let path else { return all }
    return all.filter {
      backend.presence(of: FileName(Self.place($0.name, in: path))) != .absent
    }
  }

  private static func place(_ name: String, in path: String) -> String {
    path.isEmpty ? name : "\(path)/\(name)"
  }

  func releaseDirectory(_ request: FuseRequest, handle: UInt64) {
    state.withLock { $0.directories[handle] = nil }
    request.succeed()
  }

  /// - Parameter plus: whether the kernel wants each entry looked up, too.
  func list(_ request: FuseRequest, handle: UInt64, offset: Int64, count: Int, plus: Bool) {
    serve(request) { () throws(SystemCallError) in
      let directory = try self.directory(handle, rewound: offset == 0)
      let path = plus ? try self.path(directory.node) : ""
      withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) { memory in
        var buffer = ListingBuffer(memory)
        for index in Int(clamping: offset)..<max(directory.entries.count, Int(clamping: offset)) {
          let entry = directory.entries[index]
          let next = Int64(index + 1)
          let fits =
            plus
            ? append(entry, directory.node, path, next, request, &buffer)
            : request.append(entry.name, FileAttributes(entry), next: next, to: &buffer)
          if !fits { break }
        }
        request.reply(bytes: buffer.bytes)
      }
    }
  }

  /// The listing from its start is a new one: the directory may have changed since.
  private func directory(
    _ handle: UInt64,
    rewound: Bool
  ) throws(SystemCallError) -> (node: NodeID, entries: [DirectoryEntry]) {
    guard let directory = state.withLock({ $0.directories[handle] }) else { throw .badHandle }
    if !rewound, let entries = directory.entries { return (directory.node, entries) }
    let entries = try entries(directory.descriptor, try? path(directory.node))
    state.withLock { state in
      state.directories[handle] = OpenDirectory(
        node: directory.node,
        descriptor: directory.descriptor,
        entries: entries
      )
    }
    return (directory.node, entries)
  }

  /// An entry with its node and attributes; without them when it has gone since.
  private func append(
    _ entry: DirectoryEntry,
    _ parent: NodeID,
    _ path: String,
    _ next: Int64,
    _ request: FuseRequest,
    _ buffer: inout ListingBuffer
  ) -> Bool {
    let unknown = NodeID(number: 0)
    guard entry.name != ".", entry.name != ".." else {
      return request.append(
        entry.name,
        node: unknown,
        FileAttributes(entry),
        next: next,
        to: &buffer
      )
    }
    guard let attributes = try? attributes(at: Self.place(entry.name, in: path)) else {
      return true
    }
    let node = state.withLock { $0.inodes.lookUp(attributes.identity, parent, entry.name) }
    guard request.append(entry.name, node: node, attributes, next: next, to: &buffer) else {
      forget(node, 1)
      return false
    }
    return true
  }

  func syncDirectory(_ request: FuseRequest, _ node: NodeID) {
    serve(request) { () throws(SystemCallError) in
      backend.syncDirectory(try path(node), done: Self.answer(request))
    }
  }
}
