package import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The files of `halite import` and `halite export` on the user's side. Methods block.
package enum DatabaseFiles {
  /// A SQLite file opened for reading, checked as far as its first bytes and companions tell.
  ///
  /// - Returns: the open file and its size in bytes.
  package static func openSource(_ path: String) throws(ControlError) -> (FileHandle, Int64) {
    guard let handle = FileHandle(forReadingAtPath: path) else {
      throw ControlError(.local, "\(path) cannot be read: \(String(cString: strerror(errno)))")
    }
    do {
      let magic = try handle.read(upToCount: 16) ?? Data()
      let size = try handle.seekToEnd()
      try handle.seek(toOffset: 0)
      guard magic == Data("SQLite format 3\0".utf8) else {
        throw ControlError(.local, "\(path) is not a SQLite database")
      }
      for (suffix, remedy) in [
        ("-wal", "run `sqlite3 \(path) 'PRAGMA wal_checkpoint(TRUNCATE)'` first"),
        ("-journal", "open it once with `sqlite3 \(path) 'PRAGMA schema_version'` first"),
      ] where holdsContent(path + suffix) {
        throw ControlError(
          .local,
          "\(path)\(suffix) holds part of the database, or it is in use; close what uses "
            + "it, then \(remedy)"
        )
      }
      return (handle, Int64(clamping: size))
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(.local, "\(path) cannot be read", cause: error)
    }
  }

  /// Whether a write-ahead log or journal is not empty; a journal that is done with begins with zeros.
  private static func holdsContent(_ path: String) -> Bool {
    guard let handle = FileHandle(forReadingAtPath: path),
      let start = try? handle.read(upToCount: 1)
    else { return false }
    return start.contains { $0 != 0 }
  }
}

/// The file that an export becomes: written beside its name, then put in its place whole, so that
/// an export broken off leaves what was there before.
package final class ExportTarget: Sendable {
  private let path: String
  private let handle: FileHandle

  /// `FileHandle` is for one thread at a time; so is this.
  package init(_ path: String) throws(ControlError) {
    self.path = path
    let temporary = path + ".tmp"
    try? FileManager.default.removeItem(atPath: temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw ControlError(
        .local,
        "\(temporary) cannot be written: \(String(cString: strerror(errno)))"
      )
    }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  }

  package func write(_ bytes: [UInt8]) throws { try handle.write(contentsOf: Data(bytes)) }

  /// Makes the file durable, then visible. The companions of an older database of that name go,
  /// since SQLite would take them for the new one's.
  package func finish() throws(ControlError) {
    do {
      try handle.synchronize()
      try handle.close()
    } catch {
      throw ControlError(.local, "\(path) cannot be written", cause: error)
    }
    for suffix in ["-journal", "-wal", "-shm"] { unlink(path + suffix) }
    guard rename(path + ".tmp", path) == 0 else {
      throw ControlError(.local, "\(path) cannot be written: \(String(cString: strerror(errno)))")
    }
    let directory = open(Paths.parent(path), O_RDONLY | O_CLOEXEC)
    if directory >= 0 {
      fsync(directory)
      close(directory)
    }
  }

  package func cancel() { unlink(path + ".tmp") }
}
