import NIOCore
import Store

/// Writes frames to a channel and flushes them together.
///
/// A class, because a flush may call back into the handler that owns it, and that into this: no
/// access to it may last longer than one line.
final class FrameWriter {
  /// Bytes written before a flush in between: the channel learns that it is no longer writable
  /// only when it is flushed.
  private static let flushThreshold = 64 << 10

  private var unflushed = 0
  private let metrics: ReplicationMetrics

  init(metrics: ReplicationMetrics) { self.metrics = metrics }

  func write(_ message: Message, term: Term, to context: ChannelHandlerContext) {
    var buffer = context.channel.allocator.buffer(capacity: message.estimatedSize)
    Frame(term: term, message: message).encode(into: &buffer)
    let size = buffer.readableBytes
    metrics.sent(message, bytes: size)
    context.write(NIOAny(buffer), promise: nil)
    unflushed += size
    if unflushed >= Self.flushThreshold { flush(context) }
  }

  func flush(_ context: ChannelHandlerContext) {
    guard unflushed > 0 else { return }
    // Before the flush, which may call back into the handler.
    unflushed = 0
    context.flush()
  }
}

extension Message {
  /// Room for the frame without growing, in bytes.
  fileprivate var estimatedSize: Int {
    switch self {
    case .entries(let batch): Frame.headerSize + LogBatch.headerSize + batch.bytes.count
    case .snapshotPages(_, let pages):
      Frame.headerSize + 12 + pages.reduce(0) { $0 + 4 + $1.bytes.count }
    case .grantRequest(.append(_, _, let payload)): Frame.headerSize + 10 + payload.count
    default: 256
    }
  }
}
