import NIOCore
import NIOPosix
import Replication
import Store
import Synchronization

/// A plain TCP connection that sends what it is told and keeps what it gets.
final class RawPeer: Sendable {
  private let channel: any Channel

  init(port: Int, group: any EventLoopGroup) async throws {
    let received = Box()
    channel = try await ClientBootstrap(group: group)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Keeper(received))
        }
      }
      .connect(host: "127.0.0.1", port: port).get()
    box = received
  }

  private let box: Box
  var bytes: [UInt8] { box.bytes.withLock { $0 } }
  var isOpen: Bool { channel.isActive }

  func send(_ bytes: [UInt8]) async throws {
    try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
  }

  func close() async throws { try await channel.close().get() }
  func closed() async throws { try await channel.closeFuture.get() }

  /// The frames received so far.
  func frames() throws -> [Frame] {
    var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
    decoder.append(ByteBuffer(bytes: bytes))
    var frames: [Frame] = []
    while let frame = try decoder.next() { frames.append(frame) }
    return frames
  }
}

private final class Box: Sendable { let bytes = Mutex<[UInt8]>([]) }

private final class Keeper: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let box: Box
  init(_ box: Box) { self.box = box }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = Array(unwrapInboundIn(data).readableBytesView)
    box.bytes.withLock { $0 += bytes }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
