/// A disk whose failures are noted, and changes of names.
struct WatchedDisk: Disk {
  let disk: any Disk
  let health: DiskHealth
  let names: DirectoryNames
  /// Called at the first failure after a time without.
  let onTrouble: @Sendable (StoreError) -> Void

  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile {
    defer { if options.contains(.create) { names.change() } }
    return WatchedFile(try watch { () throws(StoreError) in try disk.open(path, options) }, self)
  }
  func rename(_ source: String, to target: String) throws(StoreError) {
    defer { names.change() }
    try watch { () throws(StoreError) in try disk.rename(source, to: target) }
  }
  func remove(_ path: String) throws(StoreError) {
    defer { names.change() }
    try watch { () throws(StoreError) in try disk.remove(path) }
  }
  func list(_ directory: String) throws(StoreError) -> [String] { try disk.list(directory) }
  func makeDirectory(_ path: String) throws(StoreError) {
    defer { names.change() }
    try watch { () throws(StoreError) in try disk.makeDirectory(path) }
  }
  func syncDirectory(_ path: String) throws(StoreError) {
    try watch { () throws(StoreError) in try disk.syncDirectory(path) }
  }
  func share(_ path: String, like model: String) throws(StoreError) {
    try watch { () throws(StoreError) in try disk.share(path, like: model) }
  }
  func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    try disk.information(path)
  }
  func available(_ directory: String) throws(StoreError) -> Int64 {
    try disk.available(directory)
  }
  func stopWrites(_ path: String) throws(StoreError) -> Bool {
    try watch { () throws(StoreError) in try disk.stopWrites(path) }
  }

  func removeStopping(_ path: String) throws(StoreError) {
    defer { names.change() }
    try watch { () throws(StoreError) in try disk.removeStopping(path) }
  }

  func canStopWrites(_ directory: String) -> Bool { disk.canStopWrites(directory) }

  func detachIfOpen(_ path: String, through temporary: String) throws(StoreError) -> Bool {
    defer { names.change() }
    return try watch { () throws(StoreError) in try disk.detachIfOpen(path, through: temporary) }
  }

  fileprivate func watch<Result>(
    _ body: () throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    do throws(StoreError) { return try body() } catch {
      if health.note(error) { onTrouble(error) }
      throw error
    }
  }
}

private final class WatchedFile: DiskFile {
  private let file: any DiskFile
  private let disk: WatchedDisk

  init(_ file: any DiskFile, _ disk: WatchedDisk) {
    self.file = file
    self.disk = disk
  }

  var descriptor: Int32 { file.descriptor }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    try file.read(into: buffer, at: offset)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    try disk.watch { () throws(StoreError) in try file.write(bytes, at: offset) }
  }
  func truncate(to size: Int64) throws(StoreError) {
    try disk.watch { () throws(StoreError) in try file.truncate(to: size) }
  }
  func sync() throws(StoreError) {
    try disk.watch { () throws(StoreError) in try file.sync() }
  }
  func information() throws(StoreError) -> DiskFileInformation { try file.information() }
}
