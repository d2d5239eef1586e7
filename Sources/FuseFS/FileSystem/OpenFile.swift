internal import Store
internal import Synchronization

/// One open of a file: what a handle of the kernel stands for.
final class OpenFile: Sendable {
  enum Content: Sendable {
    case mounted(MountedFile)
    /// A virtual file as it was when it was opened, so that reads in parts fit together.
    case virtual(VirtualFile)
  }

  let handle: UInt64
  let node: NodeID
  let content: Content
  /// The locks of the file, shared by all its opens even if it is renamed or removed meanwhile.
  let locks: FileLocks
  let isWritable: Bool

  init(handle: UInt64, node: NodeID, content: Content, locks: FileLocks, isWritable: Bool) {
    self.handle = handle
    self.node = node
    self.content = content
    self.locks = locks
    self.isWritable = isWritable
  }

  var mounted: MountedFile? {
    if case .mounted(let file) = content { return file }
    return nil
  }
}

/// An open directory, and its entries as of when the listing began.
final class OpenDirectory: Sendable {
  let node: NodeID
  let descriptor: DirectoryDescriptor
  /// Nil before it was listed: most are opened to be synced.
  let entries: [DirectoryEntry]?

  init(node: NodeID, descriptor: DirectoryDescriptor, entries: [DirectoryEntry]? = nil) {
    self.node = node
    self.descriptor = descriptor
    self.entries = entries
  }
}

/// How the kernel is told to serve the opens of one file.
///
/// The kernel has one way for a file as long as it is open: all its opens are passed through to
/// the same backing file, or all may use the page cache. Opens that use neither (direct I/O) get
/// along with both. So the first open decides, and the last release ends it.
struct FileService: Sendable {
  enum Way: Sendable {
    /// The kernel works on the backing file registered under this number.
    case passthrough(Int32)
    /// Through the page cache of the mount, which makes shared mappings possible.
    case cached
    /// Every read and write comes to the daemon.
    case direct
  }

  let way: Way
  let locks: FileLocks
  var handles: [UInt64] = []
}
