/// What the mount asks of the store: the seam between kernel requests and databases.
///
/// The mount mirrors a directory tree on the local disk (`tree`). It does by itself whatever has
/// nothing to do with SQLite (directories, attributes, reads of any file); it comes here for what
/// may be part of a transaction. Methods may be called from any thread, also a FUSE thread, which
/// must not block: what may wait finishes through its `done`, called once, inline or later on
/// another thread.
package protocol MountBackend: AnyObject, Sendable {
  /// The directory the mount shows, absolute, without a trailing slash.
  var tree: String { get }

  /// Opens (or creates) a regular file of the tree.
  ///
  /// - Throws: `.readOnly` when this node must not write that file.
  func open(_ name: FileName, _ options: MountOpenOptions) throws(StoreError) -> MountedFile

  /// A descriptor is gone. `wrote` tells whether it had been opened for writing.
  func close(_ file: MountedFile, wrote: Bool, done: @escaping MountCompletion)

  /// Writes to a file whose writes come to the daemon (`MountedFile.io == .daemon`).
  ///
  /// `bytes` are valid only until this method returns.
  func write(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  )

  /// Sets the size of a file; `file` is nil when the request named a path without a descriptor.
  func truncate(
    _ name: FileName,
    _ file: MountedFile?,
    to size: Int64,
    done: @escaping MountCompletion
  )

  /// `fsync` and `fdatasync`.
  func sync(_ file: MountedFile, done: @escaping MountCompletion)

  /// `fsync` of a directory of the tree.
  func syncDirectory(_ path: String, done: @escaping MountCompletion)

  /// Removes a regular file or symbolic link from the tree.
  func remove(_ name: FileName, done: @escaping MountCompletion)

  /// Renames a file or a directory. `exchange` and `noReplace` are those of `renameat2`.
  func rename(
    _ source: String,
    to target: String,
    noReplace: Bool,
    exchange: Bool,
    done: @escaping MountCompletion
  )

  /// The lock table of a file; the same object for as long as the file exists under that name.
  func locks(of name: FileName) -> FileLocks

  /// How long a name that nothing has will not be taken by the node itself, in seconds, so that the
  /// kernel need not ask again; what clients create it knows.
  func absence(of name: FileName) -> Double

  /// How long name, size and times of a file that is there stay as they are unless a client changes them,
  /// in seconds, zero where they may change at once.
  func stability(of name: FileName) -> Double

  /// What the mount shows of a file of the tree.
  func presence(of name: FileName) -> MountPresence

  /// Something else is about to be done at this path, or below it, than to open files: what the store keeps there
  /// for itself is in the way.
  func makeWay(at path: String) throws(StoreError)

  /// Names have come to the tree, or gone, or attributes of directories have changed, in another way than through
  /// this protocol.
  func namesChanged()

  /// A read-only file that the node makes up (`.primary`, `.lag`, `<db>-pos`), or nil. No listing
  /// shows it.
  func virtualFile(_ path: String) -> VirtualFile?
}

/// How a file of the tree looks through the mount.
package enum MountPresence: Sendable, Equatable {
  case asOnDisk
  /// Shorter than on the disk, in bytes.
  case ofSize(Int64)
  case absent
}

/// Nil is success.
package typealias MountCompletion = @Sendable (StoreError?) -> Void

/// The open flags that matter to the store.
package struct MountOpenOptions: OptionSet, Sendable {
  package let rawValue: Int
  package init(rawValue: Int) { self.rawValue = rawValue }

  package static let write = MountOpenOptions(rawValue: 1)
  package static let create = MountOpenOptions(rawValue: 2)
  package static let exclusive = MountOpenOptions(rawValue: 4)
  package static let truncate = MountOpenOptions(rawValue: 8)
}

/// An open file of the mount.
package final class MountedFile: Sendable {
  /// Who serves reads and writes of the descriptor.
  package enum IO: Sendable {
    /// The kernel may pass them to the backing file; without passthrough the mount does so.
    case direct
    /// Writes come to `MountBackend.write`, reads to the mount.
    case daemon
    /// The kernel may pass them to the backing file; without passthrough writes come to `MountBackend.write`,
    /// reads to the mount.
    case followed
  }

  package let name: FileName
  package let file: any DiskFile
  package let io: IO
  /// Counts a client that may write, for as long as it has the file open.
  let writer: Writers.Token?

  package convenience init(name: FileName, file: any DiskFile, io: IO) {
    self.init(name: name, file: file, io: io, writer: nil)
  }

  init(name: FileName, file: any DiskFile, io: IO, writer: Writers.Token?) {
    self.name = name
    self.file = file
    self.io = io
    self.writer = writer
  }
}

/// A small read-only file without a place on the disk.
package struct VirtualFile: Sendable, Equatable {
  package var contents: [UInt8]
  /// Nanoseconds since the epoch.
  package var modified: Int64
  /// Permission bits, as `0o444`.
  package var mode: UInt32

  package init(contents: [UInt8], modified: Int64, mode: UInt32 = 0o444) {
    self.contents = contents
    self.modified = modified
    self.mode = mode
  }
}
