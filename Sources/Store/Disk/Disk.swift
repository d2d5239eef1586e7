import Glibc

/// The disk as the store uses it. The real one is `SystemDisk`; tests hand in one that fails.
///
/// Paths are absolute. All calls block; none is made on the Swift concurrency pool.
package protocol Disk: Sendable {
  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile
  func rename(_ source: String, to target: String) throws(StoreError)
  /// Removes a file; a missing one is an error of code `.system(ENOENT)`.
  func remove(_ path: String) throws(StoreError)
  /// The names in a directory, without `.` and `..`, sorted.
  func list(_ directory: String) throws(StoreError) -> [String]
  /// Makes a directory and the ones above it that are missing.
  func makeDirectory(_ path: String) throws(StoreError)
  /// Makes entries of the directory durable.
  func syncDirectory(_ path: String) throws(StoreError)
  /// Gives a file the owner of `model` and the permission to be read and written by all whom
  /// the directory lets in: the node decides by other means who may write a database.
  func share(_ path: String, like model: String) throws(StoreError)
  /// Nil when nothing has that path.
  func information(_ path: String) throws(StoreError) -> DiskFileInformation?
  /// Bytes that can still be written to the file system of a directory.
  func available(_ directory: String) throws(StoreError) -> Int64
  /// Where anybody else has a file open, puts a copy in its place, so that what they do to theirs
  /// does not matter any more.
  ///
  /// - Parameter temporary: where the copy grows; on the same file system.
  /// - Returns: whether that was necessary.
  func detachIfOpen(_ path: String, through temporary: String) throws(StoreError) -> Bool
  /// Lets all writes to a file fail from now on, also those of programs that have it open.
  ///
  /// - Returns: whether that could be done.
  func stopWrites(_ path: String) throws(StoreError) -> Bool
  /// Removes a file, and where that can be done lets the writes of programs fail that still have it open.
  func removeStopping(_ path: String) throws(StoreError)
  /// Whether writes to files of a directory can be stopped.
  func canStopWrites(_ directory: String) -> Bool
}

extension Disk {
  /// For disks whose files nobody else opens.
  package func detachIfOpen(
    _ path: String,
    through temporary: String
  ) throws(StoreError) -> Bool { false }
  package func stopWrites(_ path: String) throws(StoreError) -> Bool { false }
  package func removeStopping(_ path: String) throws(StoreError) { try remove(path) }
  package func canStopWrites(_ directory: String) -> Bool { false }

  /// Without bound, for disks that have none.
  package func available(_ directory: String) throws(StoreError) -> Int64 { .max }
}

/// How to open a file.
package struct DiskOpenOptions: OptionSet, Sendable {
  package let rawValue: Int
  package init(rawValue: Int) { self.rawValue = rawValue }

  package static let write = DiskOpenOptions(rawValue: 1)
  package static let create = DiskOpenOptions(rawValue: 2)
  package static let exclusive = DiskOpenOptions(rawValue: 4)
  package static let truncate = DiskOpenOptions(rawValue: 8)
}

/// What `stat` tells that the store needs.
package struct DiskFileInformation: Sendable, Equatable {
  package var device: UInt64
  package var inode: UInt64
  /// Bytes.
  package var size: Int64
  /// Nanoseconds since the epoch.
  package var modified: Int64
  package var isDirectory: Bool

  package init(device: UInt64, inode: UInt64, size: Int64, modified: Int64, isDirectory: Bool) {
    self.device = device
    self.inode = inode
    self.size = size
    self.modified = modified
    self.isDirectory = isDirectory
  }

  /// Whether it is the same file, however it has changed.
  func isSameFile(as other: DiskFileInformation) -> Bool {
    device == other.device && inode == other.inode
  }
}

/// An open file; closed when the last reference goes.
package protocol DiskFile: AnyObject, Sendable {
  /// The system's descriptor, for what only the kernel can do with it (passthrough, mmap).
  var descriptor: Int32 { get }
  /// Reads until the buffer is full or the file ends; the number of bytes read.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  /// Writes all of the bytes.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError)
  func truncate(to size: Int64) throws(StoreError)
  /// Makes contents and size durable (`fdatasync`).
  func sync() throws(StoreError)
  func information() throws(StoreError) -> DiskFileInformation
  /// How many bytes of it are to be seen, where the rest is not part of it; nil for all.
  var visibleSize: Int64? { get }
}

extension DiskFile {
  package var visibleSize: Int64? { nil }
}

extension Disk {
  /// A file for reading and writing that must exist; nil when it does not.
  func openForMapping(_ path: String) throws(StoreError) -> (any DiskFile)? {
    try openIfPresent(path, [.write])
  }

  /// A file, for reading unless the options say more, or nil when there is none.
  func openIfPresent(
    _ path: String,
    _ options: DiskOpenOptions = []
  ) throws(StoreError) -> (any DiskFile)? {
    guard try information(path) != nil else { return nil }
    do throws(StoreError) { return try open(path, options) } catch {
      // SQLite may have removed it meanwhile.
      guard error.code == .system(ENOENT) else { throw error }
      return nil
    }
  }
}
