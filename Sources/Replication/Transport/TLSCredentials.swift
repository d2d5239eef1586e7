package import Logging
import Synchronization

/// The node's certificate files, read again when they change.
///
/// New connections use what was read last; those that exist keep what they began with. Files that
/// cannot be used (half written, expired authority, wrong key) leave the old ones in force.
package final class TLSCredentials: Sendable {
  private let read: @Sendable () throws(ReplicationError) -> TLSFileContents
  private let logger: Logger
  private struct State {
    var material: TLSMaterial
    /// What failed last, so that it is logged once.
    var failure: String?
  }
  private let state: Mutex<State>

  /// Reads the files. Blocks.
  package convenience init(files: TLSFiles, logger: Logger) throws(ReplicationError) {
    try self.init(logger: logger) { () throws(ReplicationError) in try files.read() }
  }

  package init(
    logger: Logger,
    read: @escaping @Sendable () throws(ReplicationError) -> TLSFileContents
  ) throws(ReplicationError) {
    self.read = read
    self.logger = logger
    state = Mutex(State(material: try TLSMaterial(try read()), failure: nil))
  }

  var current: TLSMaterial { state.withLock { $0.material } }

  /// Reads the files again; whether they had changed and are now in use. Blocks.
  @discardableResult
  package func reload() -> Bool {
    do {
      let contents = try read()
      guard contents != current.contents else { return false }
      let material = try TLSMaterial(contents)
      state.withLock { state in
        state.material = material
        state.failure = nil
      }
      logger.info("Certificates were reloaded")
      return true
    } catch {
      let text = String(describing: error)
      let isNew = state.withLock { state in
        defer { state.failure = text }
        return state.failure != text
      }
      if isNew {
        logger.error(
          "Changed certificate files cannot be used; the old ones stay in force",
          metadata: ["error": "\(text)"]
        )
      }
      return false
    }
  }
}
