import NIOCore
import NIOSSL

extension TransportSecurity {
  /// Protects a connection that this node has dialled: adds the handlers to the end of the pipeline.
  ///
  /// - Parameter names: The names and addresses of which the other side's certificate must carry one.
  /// - Returns: What will be known of the other side; nil without TLS.
  func protect(
    _ channel: any Channel,
    to names: [String],
    clock: ReplicationClock
  ) throws -> PeerVerdict? {
    switch self {
    case .tls(let credentials):
      let material = credentials.current
      let verifier = PeerVerifier(
        roots: material.roots,
        side: .server(names: names),
        wallClock: { clock.wallClock() / 1_000 }
      )
      let verdict = PeerVerdict()
      try channel.pipeline.syncOperations.addHandler(
        NIOSSLClientHandler(
          context: material.client,
          serverHostname: nil,
          customVerificationCallback: verdict.callback(verifier),
          configuration: .init()
        )
      )
      return verdict
    case .insecure:
      try channel.pipeline.syncOperations.addHandler(LoopbackCheck(security: self))
      return nil
    }
  }
}

/// Ends a connection in plain text that leads off this machine, before anything is said.
private final class LoopbackCheck: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let security: TransportSecurity

  init(security: TransportSecurity) { self.security = security }

  func channelActive(context: ChannelHandlerContext) {
    do {
      if let address = context.channel.remoteAddress { try security.check(address) }
      context.fireChannelActive()
    } catch {
      context.fireErrorCaught(error)
    }
  }
}
