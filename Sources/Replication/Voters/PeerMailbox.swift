import NIOCore
import Synchronization

/// Messages from any thread on their way to the event loop of one connection.
final class PeerMailbox: Sendable {
  /// Messages that may wait for the event loop. An election has a few on the way; when the loop is
  /// held up, the latest are not worth more than those before, and all will be repeated.
  static let capacity = 64

  private let waiting = Mutex<[[UInt8]]>([])
  private let connection: NIOLoopBound<PeerConnection>

  init(_ connection: NIOLoopBound<PeerConnection>) { self.connection = connection }

  /// Never blocks; drops the message when too many wait.
  func post(_ bytes: [UInt8]) {
    let isFirst = waiting.withLock { waiting in
      guard waiting.count < Self.capacity else { return false }
      waiting.append(bytes)
      return waiting.count == 1
    }
    guard isFirst else { return }
    connection.eventLoop.execute { [self] in connection.value.send(take()) }
  }

  private func take() -> [[UInt8]] {
    waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
  }
}
