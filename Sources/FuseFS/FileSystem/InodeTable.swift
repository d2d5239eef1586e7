/// The kernel's name for a file of the mount, for as long as it remembers it.
struct NodeID: Hashable, Sendable {
  let number: UInt64

  static let root = NodeID(number: 1)
}

/// The files the kernel knows, by number, and where each of them is at the moment.
///
/// A node is a file, not a name: it is found by identity, keeps its number when it is renamed, and
/// loses its path when its last known name goes. Paths are kept as parent and name, so that the
/// rename of a directory moves all that is below it. Every reply that names a node counts one
/// look-up; the kernel gives them back with `forget`. Numbers are never used twice.
struct InodeTable: Sendable {
  private enum Key: Hashable, Sendable {
    case file(FileIdentity)
    /// A file made up by the node; it is its path.
    case virtual(String)
  }

  private struct Node: Sendable {
    let key: Key
    var parent: NodeID
    /// Nil when it has no name (any more) that we know of.
    var name: String?
    var lookups: UInt64
    /// Nodes whose path leads through this one; they keep it.
    var children = 0
  }

  private var nodes: [NodeID: Node] = [:]
  private var numbers: [Key: NodeID] = [:]
  private var last: UInt64 = 1
  /// Directories above one another; what is deeper has no path (PATH_MAX leaves room for fewer).
  private static let maxDepth = 4096

  init(root: FileIdentity) {
    nodes[.root] = Node(key: .file(root), parent: .root, name: "", lookups: 1)
    numbers[.file(root)] = .root
  }

  var count: Int { nodes.count }

  // MARK: Finding

  /// Where the file is, relative to the root; nil when it has no name.
  func path(_ id: NodeID) -> String? {
    if id == .root { return "" }
    guard let node = nodes[id], var path = node.name else { return nil }
    var next = node.parent
    for _ in 0..<Self.maxDepth {
      if next == .root { return path }
      guard let node = nodes[next], let name = node.name else { return nil }
      path = "\(name)/\(path)"
      next = node.parent
    }
    return nil
  }

  func path(_ parent: NodeID, _ name: String) -> String? {
    if parent == .root { return name }
    return path(parent).map { "\($0)/\(name)" }
  }

  func identity(_ id: NodeID) -> FileIdentity? {
    if case .file(let identity) = nodes[id]?.key { return identity }
    return nil
  }

  func isVirtual(_ id: NodeID) -> Bool {
    if case .virtual = nodes[id]?.key { return true }
    return false
  }

  // MARK: Look-ups

  /// Counts a look-up of a file by one of its names.
  mutating func lookUp(_ identity: FileIdentity, _ parent: NodeID, _ name: String) -> NodeID {
    lookUp(.file(identity), parent, name)
  }

  mutating func lookUp(virtual path: String, _ parent: NodeID, _ name: String) -> NodeID {
    lookUp(.virtual(path), parent, name)
  }

  private mutating func lookUp(_ key: Key, _ parent: NodeID, _ name: String) -> NodeID {
    guard let id = numbers[key] else {
      last += 1
      let id = NodeID(number: last)
      nodes[id] = Node(key: key, parent: parent, name: name, lookups: 1)
      nodes[parent]?.children += 1
      numbers[key] = id
      return id
    }
    nodes[id]?.lookups += 1
    if id != .root { place(id, parent, name) }
    return id
  }

  mutating func forget(_ id: NodeID, _ count: UInt64) {
    guard id != .root, let node = nodes[id] else { return }
    nodes[id]?.lookups = node.lookups - min(count, node.lookups)
    removeIfUnused(id)
  }

  private mutating func removeIfUnused(_ id: NodeID) {
    var next = id
    while next != .root, let node = nodes[next], node.lookups == 0, node.children == 0 {
      nodes[next] = nil
      if numbers[node.key] == next { numbers[node.key] = nil }
      guard node.name != nil else { return }
      nodes[node.parent]?.children -= 1
      next = node.parent
    }
  }

  // MARK: Changes of names

  /// A name of the file has gone. When it was the one we know, the file has no path until it is
  /// looked up by another; when it was the last one, its identity may come back as another file.
  mutating func removeName(
    _ identity: FileIdentity,
    _ parent: NodeID,
    _ name: String,
    isLast: Bool
  ) {
    guard let id = numbers[.file(identity)], id != .root else { return }
    if isLast { numbers[.file(identity)] = nil }
    guard let node = nodes[id], node.parent == parent, isSame(node.name, name) else { return }
    nodes[id]?.name = nil
    nodes[parent]?.children -= 1
    removeIfUnused(parent)
  }

  /// The file is now called that.
  mutating func move(_ identity: FileIdentity, _ parent: NodeID, _ name: String) {
    guard let id = numbers[.file(identity)], id != .root else { return }
    place(id, parent, name)
  }

  private mutating func place(_ id: NodeID, _ parent: NodeID, _ name: String) {
    guard let node = nodes[id] else { return }
    let old = node.name == nil ? nil : Optional(node.parent)
    nodes[id]?.name = name
    guard old != parent else { return }
    nodes[id]?.parent = parent
    nodes[parent]?.children += 1
    guard let old else { return }
    nodes[old]?.children -= 1
    removeIfUnused(old)
  }

  /// Names are bytes to the kernel; strings of Swift are equal already when they look the same.
  private func isSame(_ a: String?, _ b: String) -> Bool {
    a.map { $0.utf8.elementsEqual(b.utf8) } ?? false
  }
}
