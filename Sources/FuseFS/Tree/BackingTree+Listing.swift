internal import CFuse3
internal import Glibc
internal import Store

/// An entry of a directory as `readdir` knows it.
struct DirectoryEntry: Sendable {
  var name: String
  var inode: UInt64
  /// The file type as the format bits of a mode; zero when unknown.
  var format: UInt32
}

/// An open directory; closed when the last reference goes.
final class DirectoryDescriptor: Sendable {
  let number: Int32
  init(_ number: Int32) { self.number = number }
  deinit { close(number) }
}

extension FileAttributes {
  /// What a plain listing shows.
  init(_ entry: DirectoryEntry) {
    self.init(virtual: 0, modified: 0, mode: 0, inode: entry.inode)
    mode = entry.format
  }
}

extension BackingTree {
  /// All entries, with `.` and `..`. The descriptor's own position is left alone.
  static func list(_ descriptor: Int32) throws(SystemCallError) -> [DirectoryEntry] {
    let own = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard own >= 0 else { throw .last }
    guard let stream = fdopendir(own) else {
      let error = SystemCallError.last
      close(own)
      throw error
    }
    defer { closedir(stream) }
    var entries: [DirectoryEntry] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { SystemPath.text($0) }
      }
      entries.append(
        DirectoryEntry(
          name: name,
          inode: UInt64(entry.pointee.d_ino),
          format: UInt32(entry.pointee.d_type) << 12
        )
      )
    }
    guard errno == 0 else { throw .last }
    return entries
  }
}
