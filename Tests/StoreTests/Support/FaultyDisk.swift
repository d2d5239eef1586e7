import Synchronization

@testable import Store

/// The real disk, except that it counts what changes or syncs something and fails where told to.
///
/// A sync is only counted: what tests look at afterwards is what the page cache holds.
final class FaultyDisk: Disk {
  enum Operation: String, CaseIterable, Sendable {
    case open, write, sync, truncate, rename, remove, syncDirectory, makeDirectory
  }

  struct Plan: Sendable {
    /// Which operations count; the n-th of them fails, from 1. Zero: none does.
    var operations: Set<Operation> = []
    var failAt = 0
    /// All after the n-th fail as well, as on a disk that is gone.
    var sticky = false
    /// A write that fails has written half of its bytes.
    var torn = false
    /// Only paths that contain this.
    var path = ""
    var code = StoreError.Code.system(5)
    var count = 0
    var failed: [String] = []
  }

  private let disk = SystemDisk()
  /// Whether what SQLite writes past the daemon is counted and fails as well.
  let seesDirectWrites: Bool
  private let plan = Mutex(Plan())

  init(seesDirectWrites: Bool = false) { self.seesDirectWrites = seesDirectWrites }

  func fail(
    _ operations: Set<Operation> = Set(Operation.allCases),
    at failAt: Int,
    sticky: Bool = false,
    torn: Bool = false,
    path: String = "",
    code: StoreError.Code = .system(5)
  ) {
    plan.withLock {
      $0 = Plan(
        operations: operations,
        failAt: failAt,
        sticky: sticky,
        torn: torn,
        path: path,
        code: code
      )
    }
  }

  /// Called before each operation.
  let watcher = Mutex<(@Sendable (Operation, String) -> Void)?>(nil)

  /// Bytes that the file system has room for.
  let room = Mutex(Int64.max)

  func heal() { plan.withLock { $0 = Plan() } }

  /// Operations counted, and those that failed.
  var counted: Int { plan.withLock { $0.count } }
  var failures: [String] { plan.withLock { $0.failed } }

  func step(_ operation: Operation, _ path: String) throws(StoreError) {
    watcher.withLock({ $0 })?(operation, path)
    let error = plan.withLock { plan -> StoreError? in
      guard plan.operations.contains(operation), plan.path.isEmpty || path.contains(plan.path)
      else { return nil }
      plan.count += 1
      guard plan.failAt > 0, plan.count == plan.failAt || (plan.sticky && plan.count > plan.failAt)
      else { return nil }
      plan.failed.append("\(operation.rawValue) \(path)")
      return StoreError(plan.code, "\(operation.rawValue) of \(path) fails as planned")
    }
    if let error { throw error }
  }

  /// Whether a failing write is to leave half of its bytes.
  var isTorn: Bool { plan.withLock { $0.torn } }

  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile {
    if !options.isDisjoint(with: [.create, .truncate]) { try step(.open, path) }
    return FaultyFile(try disk.open(path, options), path, self)
  }
  func rename(_ source: String, to target: String) throws(StoreError) {
    try step(.rename, target)
    try disk.rename(source, to: target)
  }
  func remove(_ path: String) throws(StoreError) {
    try step(.remove, path)
    try disk.remove(path)
  }
  func list(_ directory: String) throws(StoreError) -> [String] { try disk.list(directory) }
  func canStopWrites(_ directory: String) -> Bool { true }
  func stopWrites(_ path: String) throws(StoreError) -> Bool { true }
  func makeDirectory(_ path: String) throws(StoreError) {
    try step(.makeDirectory, path)
    try disk.makeDirectory(path)
  }
  func syncDirectory(_ path: String) throws(StoreError) {
    try step(.syncDirectory, path)
  }
  func share(_ path: String, like model: String) throws(StoreError) {
    try disk.share(path, like: model)
  }
  func available(_ directory: String) throws(StoreError) -> Int64 { room.withLock { $0 } }
  func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    try disk.information(path)
  }
}

private final class FaultyFile: DiskFile {
  private let file: any DiskFile
  private let path: String
  private let disk: FaultyDisk

  init(_ file: any DiskFile, _ path: String, _ disk: FaultyDisk) {
    self.file = file
    self.path = path
    self.disk = disk
  }

  var descriptor: Int32 { file.descriptor }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    try file.read(into: buffer, at: offset)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    do throws(StoreError) {
      try disk.step(.write, path)
    } catch {
      if disk.isTorn {
        try file.write(UnsafeRawBufferPointer(rebasing: bytes[0..<(bytes.count / 2)]), at: offset)
      }
      throw error
    }
    try file.write(bytes, at: offset)
  }
  func truncate(to size: Int64) throws(StoreError) {
    try disk.step(.truncate, path)
    try file.truncate(to: size)
  }
  func sync() throws(StoreError) {
    try disk.step(.sync, path)
  }
  func information() throws(StoreError) -> DiskFileInformation { try file.information() }
}
