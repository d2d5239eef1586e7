import Synchronization

@testable import Store

/// A disk in memory: as fast as a fuzzer needs it, and bounded.
final class MemoryDisk: Disk {
  private struct State {
    var files: [String: MemoryFile] = [:]
    var directories: Set<String> = ["/"]
    var nextInode: UInt64 = 1
  }

  private let state = Mutex(State())

  /// Puts a file there.
  func put(_ path: String, _ bytes: [UInt8]) throws(StoreError) {
    try makeDirectory(Self.parent(of: path))
    let file = try open(path, [.write, .create, .truncate])
    try file.writeAll(bytes, at: 0)
  }

  private static func parent(of path: String) -> String {
    path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
  }

  private static func missing(_ path: String) -> StoreError {
    StoreError(.system(2), "\(path) does not exist")
  }

  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile {
    let found = state.withLock { state -> MemoryFile? in
      if let file = state.files[path] { return file }
      guard options.contains(.create), state.directories.contains(Self.parent(of: path)) else {
        return nil
      }
      let file = MemoryFile(inode: state.nextInode)
      state.nextInode += 1
      state.files[path] = file
      return file
    }
    guard let found else { throw Self.missing(path) }
    if options.contains(.truncate) { try found.truncate(to: 0) }
    return found
  }

  func rename(_ source: String, to target: String) throws(StoreError) {
    let done = state.withLock { state -> Bool in
      guard let file = state.files.removeValue(forKey: source) else { return false }
      state.files[target] = file
      return true
    }
    if !done { throw Self.missing(source) }
  }

  func remove(_ path: String) throws(StoreError) {
    guard state.withLock({ $0.files.removeValue(forKey: path) }) != nil else {
      throw Self.missing(path)
    }
  }

  func list(_ directory: String) throws(StoreError) -> [String] {
    let prefix = directory + "/"
    let names = state.withLock { state -> Set<String>? in
      guard state.directories.contains(directory) else { return nil }
      let below = Array(state.files.keys) + Array(state.directories)
      return Set(
        below.filter { $0.hasPrefix(prefix) }
          .map { String($0.dropFirst(prefix.count).prefix { $0 != "/" }) }
          .filter { !$0.isEmpty }
      )
    }
    guard let names else { throw Self.missing(directory) }
    return names.sorted()
  }

  func makeDirectory(_ path: String) throws(StoreError) {
    state.withLock { state in
      var path = path
      while !path.isEmpty {
        state.directories.insert(path)
        path = Self.parent(of: path)
      }
    }
  }

  func syncDirectory(_ path: String) throws(StoreError) {}
  func share(_ path: String, like model: String) throws(StoreError) {}

  func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    let (file, isDirectory) = state.withLock { ($0.files[path], $0.directories.contains(path)) }
    if let file { return try file.information() }
    guard isDirectory else { return nil }
    return DiskFileInformation(device: 1, inode: 0, size: 0, modified: 0, isDirectory: true)
  }
}

/// A file of which only the beginning can have content.
final class MemoryFile: DiskFile {
  /// Bytes that can be written; beyond, the disk is full.
  static let capacity: Int64 = 8 << 20
  /// The largest size, as of ext4 with blocks of 4 KiB.
  static let largest: Int64 = 16 << 40

  private struct State {
    var bytes: [UInt8] = []
    var size: Int64 = 0
    var changes: Int64 = 0
  }

  private let inode: UInt64
  private let state = Mutex(State())

  init(inode: UInt64) { self.inode = inode }

  /// No kernel knows of this file.
  var descriptor: Int32 { -1 }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    guard offset >= 0 else { throw StoreError(.system(22), "a negative offset") }
    return state.withLock { state in
      let count = Int(min(Int64(buffer.count), max(0, state.size - offset)))
      let known = min(count, max(0, state.bytes.count - Int(offset)))
      if known > 0 {
        state.bytes.withUnsafeBytes { raw in
          buffer.copyBytes(from: raw[Int(offset)..<(Int(offset) + known)])
        }
      }
      if known < count {
        UnsafeMutableRawBufferPointer(rebasing: buffer[known..<count])
          .initializeMemory(as: UInt8.self, repeating: 0)
      }
      return count
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    guard offset >= 0 else { throw StoreError(.system(22), "a negative offset") }
    guard offset <= Self.capacity - Int64(bytes.count) else {
      throw StoreError(.system(28), "the disk is full")
    }
    state.withLock { state in
      let end = Int(offset) + bytes.count
      if state.bytes.count < end {
        state.bytes.append(contentsOf: repeatElement(0, count: end - state.bytes.count))
      }
      state.bytes.replaceSubrange(Int(offset)..<end, with: bytes)
      state.size = max(state.size, Int64(end))
      state.changes += 1
    }
  }

  func truncate(to size: Int64) throws(StoreError) {
    guard (0...Self.largest).contains(size) else {
      throw StoreError(.system(27), "the file would be too large")
    }
    state.withLock { state in
      if Int64(state.bytes.count) > size { state.bytes.removeLast(state.bytes.count - Int(size)) }
      state.size = size
      state.changes += 1
    }
  }

  func sync() throws(StoreError) {}

  func information() throws(StoreError) -> DiskFileInformation {
    state.withLock {
      DiskFileInformation(
        device: 1,
        inode: inode,
        size: $0.size,
        modified: $0.changes,
        isDirectory: false
      )
    }
  }
}
