package import LTX
import Synchronization

/// Writes one consistent state of a database to a file of its own, while it is being written.
///
/// Used on any node: the pages come as for a replica's snapshot, the log is applied over them.
package final class DatabaseExporter: Sendable {
  private let store: Store
  private let source: any SnapshotSource
  private let staging: Mutex<SnapshotStaging>
  private let name: String

  /// Pages to be read in all.
  package var pages: UInt32 { source.begin.differing }
  package var pageSize: UInt32 { source.begin.pageSize }

  /// - Parameter path: the file to write, which must not exist.
  package init(_ name: String, in store: Store, to path: String) throws(StoreError) {
    self.store = store
    self.name = name
    source = try store.openSnapshot(of: name, checksums: [])
    guard let size = PageSize(bytes: Int(source.begin.pageSize)) else {
      throw StoreError(.corrupt, "database \(name) has an impossible page size")
    }
    staging = Mutex(
      try SnapshotStaging.create(store.context.disk, path + ".pages", pageSize: size)
    )
    self.path = path
  }

  private let path: String

  /// Reads some pages; false when there are no more.
  package func step(maxBytes: Int = 1 << 20) throws(StoreError) -> Bool {
    guard let pages = try source.next(maxBytes: maxBytes) else { return false }
    try staging.withLock { (staging) throws(StoreError) in try staging.add(pages) }
    return true
  }

  /// Completes the file; the position of its content.
  package func finish() throws(StoreError) -> Position {
    let end = try source.end()
    let disk = store.context.disk
    return try staging.withLock { (staging) throws(StoreError) in
      try staging.overlay(name, from: store.log, after: source.begin.index, through: end.index)
      staging.cut(to: end.pages)
      let file = try disk.open(path, [.write, .create, .exclusive])
      var total = Checksum.empty
      for (page, checksum) in staging.checksums { total = total.toggling(checksum); _ = page }
      guard total == end.position.checksum else {
        throw StoreError(
          .diverged,
          "the copy of \(name) does not add up to \(end.position); try again"
        )
      }
      for (page, _) in staging.offsets.sorted(by: { $0.value < $1.value }) {
        try file.writeAll(
          try staging.content(page),
          at: PageNumber(page).offset(staging.pageSize)
        )
      }
      try file.truncate(to: Int64(end.pages) * Int64(staging.pageSize.bytes))
      try file.sync()
      try disk.remove(staging.path)
      return end.position
    }
  }
}
