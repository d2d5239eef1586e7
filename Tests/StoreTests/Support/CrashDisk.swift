import Synchronization

@testable import Store

/// The real disk, except that it writes down every operation that changes or syncs something, in
/// order, so that what a crash at any of them could have left can be made afterwards: `CrashState`
/// takes the operations up to the crash, `CrashState.image` throws the dice.
///
/// A machine that dies at the N-th operation has done what one that goes on had done by then. So one
/// run is enough for all N, and nothing of it depends on which one is looked at.
///
/// Wal-indexes are not recorded: no crash of the machine leaves anything of use in them.
final class CrashDisk: Disk {
  enum Operation: Sendable {
    /// A new, empty file has come under this path.
    case link(String, file: Int)
    case unlink(String)
    case rename(String, String)
    case makeDirectory(String)
    case syncDirectory(String)
    case write(file: Int, at: Int, [UInt8])
    case truncate(file: Int, Int)
    case sync(file: Int)
    /// Somebody was told that the log is durable up to here.
    case promise(LogIndex)
    /// What the log holds behind here was taken back on purpose.
    case retract(LogIndex)
    /// Between two transactions, with nothing on its way.
    case boundary
  }

  private struct State {
    var operations: [Operation] = []
    /// Which file a path leads to.
    var files: [String: Int] = [:]
    var nextFile = 0
    var isRecording = true
  }

  private let disk = SystemDisk()
  /// What the paths of operations are relative to, with a slash at its end.
  private let root: String
  /// What was there in the beginning, all of it durable.
  let start: CrashState
  private let state: Mutex<State>

  init(_ directory: TestDirectory) throws {
    root = directory.path + "/"
    var start = CrashState()
    for (path, bytes) in try directory.files() where Self.isRecorded(path) {
      start.add(path, bytes)
    }
    self.start = start
    state = Mutex(State(files: start.names, nextFile: start.names.count))
  }

  var operations: [Operation] { state.withLock { $0.operations } }

  /// What is promised and where boundaries are only the test knows.
  func note(_ operation: Operation) {
    state.withLock { if $0.isRecording { $0.operations.append(operation) } }
  }

  /// From now on the disk is only a disk.
  func stopRecording() { state.withLock { $0.isRecording = false } }

  private static func isRecorded(_ path: String) -> Bool { !path.hasSuffix("-shm") }

  private func name(_ path: String) -> String? {
    guard path.hasPrefix(root) else { return nil }
    let name = String(path.dropFirst(root.count))
    return Self.isRecorded(name) ? name : nil
  }

  /// Performs an operation and writes it down, with nothing in between.
  private func perform<T>(
    _ body: () throws(StoreError) -> T,
    _ record: (inout State) -> Operation?
  ) throws(StoreError) -> T {
    let result: Result<T, StoreError> = state.withLock { state in
      do throws(StoreError) {
        let value = try body()
        if state.isRecording, let operation = record(&state) {
          state.operations.append(operation)
        }
        return .success(value)
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile {
    guard let name = name(path) else { return try disk.open(path, options) }
    var number = 0
    let file = try perform { () throws(StoreError) in
      try disk.open(path, options)
    } _: { state in
      if let known = state.files[name] {
        number = known
        return options.contains(.truncate) ? .truncate(file: known, 0) : nil
      }
      number = state.nextFile
      state.nextFile += 1
      state.files[name] = number
      return .link(name, file: number)
    }
    return CrashFile(file, number, self)
  }

  func rename(_ source: String, to target: String) throws(StoreError) {
    try perform { () throws(StoreError) in
      try disk.rename(source, to: target)
    } _: { state in
      guard let from = name(source), let to = name(target) else { return nil }
      // A directory takes with it what is below.
      for (path, file) in state.files where path == from || path.hasPrefix(from + "/") {
        state.files[path] = nil
        state.files[to + path.dropFirst(from.count)] = file
      }
      return .rename(from, to)
    }
  }

  func remove(_ path: String) throws(StoreError) {
    try perform { () throws(StoreError) in
      try disk.remove(path)
    } _: { state in
      guard let name = name(path) else { return nil }
      state.files[name] = nil
      return .unlink(name)
    }
  }

  func makeDirectory(_ path: String) throws(StoreError) {
    try perform { () throws(StoreError) in
      try disk.makeDirectory(path)
    } _: { _ in
      name(path).map { .makeDirectory($0) }
    }
  }

  func syncDirectory(_ path: String) throws(StoreError) {
    // The page cache is all that anybody reads here: nothing is really synced.
    try perform { () throws(StoreError) in
    } _: { _ in
      name(path).map { .syncDirectory($0) }
    }
  }

  func list(_ directory: String) throws(StoreError) -> [String] { try disk.list(directory) }
  func canStopWrites(_ directory: String) -> Bool { true }
  func stopWrites(_ path: String) throws(StoreError) -> Bool { true }
  func share(_ path: String, like model: String) throws(StoreError) {
    try disk.share(path, like: model)
  }
  func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    try disk.information(path)
  }

  fileprivate func perform(
    _ operation: Operation,
    _ body: () throws(StoreError) -> Void
  ) throws(StoreError) {
    try perform(body) { _ in operation }
  }
}

private final class CrashFile: DiskFile {
  private let file: any DiskFile
  private let number: Int
  private let disk: CrashDisk

  init(_ file: any DiskFile, _ number: Int, _ disk: CrashDisk) {
    self.file = file
    self.number = number
    self.disk = disk
  }

  var descriptor: Int32 { file.descriptor }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    try file.read(into: buffer, at: offset)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    let copy = Array(bytes)
    try disk.perform(.write(file: number, at: Int(offset), copy)) { () throws(StoreError) in
      try file.write(bytes, at: offset)
    }
  }
  func truncate(to size: Int64) throws(StoreError) {
    try disk.perform(.truncate(file: number, Int(size))) { () throws(StoreError) in
      try file.truncate(to: size)
    }
  }
  func sync() throws(StoreError) {
    try disk.perform(.sync(file: number)) { () throws(StoreError) in }
  }
  func information() throws(StoreError) -> DiskFileInformation { try file.information() }
}
