import NIOCore

/// Stands before TLS on the listening side until the peer is admitted: lets nothing through that is not
/// TLS, nor more than a handshake needs.
final class PreAuthenticationGate: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  /// Bytes of a TLS handshake with a client's chain of certificates, and of a hello: a chain is a few
  /// KiB, a hello at most 64 KiB.
  static let maxBytes = 160 << 10
  /// The content type of a TLS record with a handshake message (RFC 8446, section 5.1).
  private static let handshakeRecord: UInt8 = 22

  struct Refused: Error {
    var reason: RefusalReason
    var text: String
  }

  private var received = 0
  private var isOpen = false
  private var isShut = false
  private let expectsTLS: Bool

  init(expectsTLS: Bool) { self.expectsTLS = expectsTLS }

  /// The peer is admitted.
  func open() { isOpen = true }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isShut { return }
    guard !isOpen else { return context.fireChannelRead(data) }
    let bytes = unwrapInboundIn(data)
    if received == 0, expectsTLS, bytes.readableBytes > 0,
      bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) != Self.handshakeRecord
    {
      isShut = true
      context.fireErrorCaught(
        Refused(
          reason: .plainText,
          text: "The peer does not speak TLS: set replication.tls on its side too."
        )
      )
      return
    }
    received += bytes.readableBytes
    guard received <= Self.maxBytes else {
      isShut = true
      context.fireErrorCaught(
        Refused(
          reason: .malformed,
          text: "The peer sent \(received) bytes before it said who it is."
        )
      )
      return
    }
    context.fireChannelRead(data)
  }
}
