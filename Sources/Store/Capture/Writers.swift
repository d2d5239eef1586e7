import Synchronization

/// The clients that have a database's main file open for writing, as many as there are.
///
/// With passthrough the daemon does not see what they write, so that a file found changed when it is
/// closed is taken to have been changed by them. But where nobody could have written, it was not a
/// client, and what differs is damage.
final class Writers: Sendable {
  /// One client; it has left when it says so, or when the last reference goes.
  final class Token: Sendable {
    private let writers: Writers
    private let hasLeft = Atomic(false)

    fileprivate init(_ writers: Writers) { self.writers = writers }
    deinit { leave() }

    func leave() {
      if !hasLeft.exchange(true, ordering: .acquiringAndReleasing) { writers.leave() }
    }
  }

  private struct State {
    var count = 0
    /// The file when the first of those who are there now opened it; nil when that is not known.
    var opened: DiskFileInformation?
  }
  private let state = Mutex(State())

  /// - Parameter file: the file as the client has opened it.
  func enter(_ file: any DiskFile) -> Token {
    let now = try? file.information()
    state.withLock { state in
      if state.count == 0 { state.opened = now }
      state.count += 1
    }
    return Token(self)
  }

  private func leave() { state.withLock { $0.count -= 1 } }

  /// Whether somebody who is there may have brought the file to what it is now.
  func mayHaveChanged(_ now: DiskFileInformation) -> Bool {
    state.withLock { state in state.count > 0 && state.opened != now }
  }
}
