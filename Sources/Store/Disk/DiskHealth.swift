import Glibc
import Synchronization

/// Whether the disk takes what the node writes, told by the operations themselves (`WatchedDisk`).
///
/// Nothing is refused because of a failure that is over: the next write may well succeed. Only while the
/// data directory is not in its place is every write refused, for the open files of a directory that
/// was moved or unmounted still take writes, which nobody would find again.
package final class DiskHealth: Sendable {
  private struct State {
    var trouble: StoreError?
    var gone: StoreError?
    var failures = 0
  }

  private let state = Mutex(State())
  private let isGone = Atomic(false)

  /// Errors that say something about the disk and not about what was asked of it.
  private static let numbers: Set<Int32> = [EIO, EROFS, ENODEV, ENXIO, ESTALE, EUCLEAN, ESHUTDOWN]

  /// What failed last, until the disk was seen to work again.
  package var trouble: StoreError? { state.withLock { $0.gone ?? $0.trouble } }

  /// How many operations failed since the start.
  package var failures: Int { state.withLock { $0.failures } }

  var isFull: Bool { state.withLock { $0.trouble?.code == .full } }

  /// Why nothing may be written, while the data directory is not in its place.
  var gone: StoreError? {
    guard isGone.load(ordering: .relaxed) else { return nil }
    return state.withLock { $0.gone }
  }

  /// - Returns: whether this is the first failure after a time without.
  @discardableResult
  func note(_ error: StoreError) -> Bool {
    guard error.code == .full || error.code.systemNumber.map(Self.numbers.contains) == true else {
      return false
    }
    return state.withLock { state in
      state.failures += 1
      defer { state.trouble = error }
      return state.trouble == nil
    }
  }

  func setGone(_ error: StoreError?) {
    state.withLock { $0.gone = error }
    isGone.store(error != nil, ordering: .relaxed)
  }

  /// The disk works again.
  func clear() { state.withLock { $0.trouble = nil } }
}
