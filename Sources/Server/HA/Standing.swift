/// Whether a server is the master: a machine without I/O that is told what the file `.primary` says and how
/// heartbeats end.
///
/// With a fixed mode there is nothing to find out. With `auto` the file system under the database decides: on a replica
/// it shows a file `.primary` with the primary's name. A missing file alone proves nothing, since a node that
/// was cut off shows none either; so a server takes itself for the master only when a heartbeat, which is
/// a write, was committed while the file was missing before and after, and no longer than until
/// a write fails.
struct Standing: Equatable, Sendable {
  enum State: String, Sendable {
    case starting, replica, master
  }

  private let mode: ServerConfiguration.HAMode
  private(set) var state: State = .starting
  /// The primary's name while the file says one.
  private(set) var primary: String?
  /// Whether this was the master until a write failed, and nobody has said since who is: it may have been cut off.
  private(set) var isInDoubt = false
  private var hasLooked = false

  init(_ mode: ServerConfiguration.HAMode) {
    self.mode = mode
    switch mode {
    case .master: state = .master
    case .replica: state = .replica
    case .auto: break
    }
  }

  enum PrimaryFile: Equatable, Sendable {
    case missing
    case names(String)
    /// The file system does not answer.
    case unknown
  }

  mutating func saw(_ file: PrimaryFile) {
    guard mode == .auto else { return }
    switch file {
    case .missing:
      primary = nil
    case .names(let name):
      primary = name
      state = .replica
      isInDoubt = false
    case .unknown:
      primary = nil
      if state == .master { state = .replica }
    }
    hasLooked = true
  }

  /// - Parameter file: what the file said after the heartbeat; what it said before was told to `saw`.
  mutating func committedHeartbeat(_ file: PrimaryFile) {
    guard mode == .auto else { return }
    let wasMissing = hasLooked && primary == nil
    saw(file)
    isInDoubt = false
    if wasMissing, file == .missing { state = .master }
  }

  /// A heartbeat or another write could not be committed.
  mutating func failedToWrite() {
    guard mode == .auto, state != .replica else { return }
    isInDoubt = state == .master
    state = .replica
  }
}
