import Dispatch
import Foundation
import Glibc
import Synchronization

/// What must not outlive a run, however it ends: processes, mounts and a directory.
final class Cleanup: Sendable {
  private struct State {
    var processes: Set<Int32> = []
    var mounts: Set<String> = []
  }

  private let directory: String
  private let state = Mutex(State())

  init(directory: String) { self.directory = directory }

  /// Ctrl-C and SIGTERM clean up before they end this process, until the sources are cancelled.
  func handleSignals() -> [any DispatchSourceSignal] {
    [SIGINT, SIGTERM, SIGHUP].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in
        perform()
        exit(128 + number)
      }
      source.resume()
      return source
    }
  }

  func add(mount: String) { state.withLock { _ = $0.mounts.insert(mount) } }
  func add(process: Int32) { state.withLock { _ = $0.processes.insert(process) } }
  func remove(process: Int32) { state.withLock { _ = $0.processes.remove(process) } }

  func perform() {
    let left = state.withLock { state in
      defer { state = State() }
      return state
    }
    for process in left.processes { kill(process, SIGKILL) }
    for mount in left.mounts { Self.unmount(mount) }
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// Detaches a mount, if there is one still.
  static func unmount(_ mount: String) {
    guard umount2(mount, Int32(MNT_DETACH)) != 0, errno == EPERM else { return }
    // Without root only this program may.
    _ = try? Child.run("/usr/bin/env", ["fusermount3", "-u", "-z", mount], seconds: 10)
  }
}
