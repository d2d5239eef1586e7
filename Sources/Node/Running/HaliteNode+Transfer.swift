import Foundation
import Store
import Synchronization

extension HaliteNode {
  package func openExport(of database: String) throws -> any DatabaseExport {
    try TransferFile.export(database, from: store)
  }

  package func openImport(of database: String) throws -> any DatabaseImport {
    guard store.role == .primary else {
      throw ControlError(
        .refused,
        "databases are imported on the primary; this node is a replica"
          + (store.standing.primary.map { ", the primary is \($0)" } ?? "")
      )
    }
    return try ImportFile(database, into: store)
  }
}

/// A finished copy of a database in the data directory, on its way out.
final class TransferFile: DatabaseExport {
  let size: Int64
  private let path: String
  private let handle: FileHandle

  static func export(_ database: String, from store: Store) throws -> TransferFile {
    let path = temporaryPath(store)
    let exporter = try DatabaseExporter(database, in: store, to: path)
    while try exporter.step() {}
    _ = try exporter.finish()
    return try TransferFile(path)
  }

  static func temporaryPath(_ store: Store) -> String {
    store.configuration.directory + "/staging/" + UUID().uuidString
  }

  private init(_ path: String) throws {
    self.path = path
    guard let handle = FileHandle(forReadingAtPath: path) else {
      throw StoreError(.notFound, "the copy \(path) cannot be read")
    }
    self.handle = handle
    size = Int64(clamping: try handle.seekToEnd())
    try handle.seek(toOffset: 0)
  }

  func next(maxBytes: Int) throws -> [UInt8]? {
    guard let data = try handle.read(upToCount: maxBytes), !data.isEmpty else { return nil }
    return Array(data)
  }

  func close() {
    try? handle.close()
    try? FileManager.default.removeItem(atPath: path)
  }
}

/// A database on its way in, collected in the data directory.
final class ImportFile: DatabaseImport {
  private let database: String
  private let store: Store
  private let path: String
  private let handle: FileHandle

  init(_ database: String, into store: Store) throws {
    self.database = database
    self.store = store
    path = TransferFile.temporaryPath(store)
    guard FileManager.default.createFile(atPath: path, contents: nil),
      let handle = FileHandle(forWritingAtPath: path)
    else {
      throw StoreError(.notFound, "\(path) cannot be written")
    }
    self.handle = handle
  }

  func write(_ bytes: [UInt8]) throws { try handle.write(contentsOf: bytes) }

  func finish() throws -> String {
    try handle.synchronize()
    try handle.close()
    return "\(try store.importDatabase(database, from: path))"
  }

  func cancel() {
    try? handle.close()
    try? FileManager.default.removeItem(atPath: path)
  }
}
