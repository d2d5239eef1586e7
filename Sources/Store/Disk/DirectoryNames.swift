import Synchronization

/// Whether the entries of a directory are durable since they were last synced, so that another sync of them need not
/// go to the disk.
final class DirectoryNames: Sendable {
  private struct State {
    /// Counts changes of names, wherever they are.
    var changes: UInt64 = 0
    /// Directories whose entries are durable as of the last change, by the bytes of their paths.
    var synced: Set<[UInt8]> = []
    /// The change that `synced` is about.
    var syncedAt: UInt64 = 0
  }

  /// Directories that are remembered.
  private static let most = 256

  private let state = Mutex(State())

  /// To be called after names have changed, and before anybody is told so.
  func change() { state.withLock { $0.changes += 1 } }

  /// Whether nothing has changed since all entries of the directory were made durable.
  func areDurable(in directory: String) -> Bool {
    state.withLock { $0.syncedAt == $0.changes && $0.synced.contains(Array(directory.utf8)) }
  }

  /// Performs a sync of a directory.
  func sync(_ directory: String, _ body: () throws(StoreError) -> Void) throws(StoreError) {
    let before = state.withLock { $0.changes }
    try body()
    state.withLock { state in
      // What has changed meanwhile may be missing.
      guard state.changes == before else { return }
      if state.syncedAt != before || state.synced.count >= Self.most { state.synced = [] }
      state.syncedAt = before
      state.synced.insert(Array(directory.utf8))
    }
  }
}
