import Logging
import NIOCore

extension PeerConnection {
  /// The connection of a voter that has just said its hello to this node's server.
  ///
  /// - Parameters:
  ///   - certifiedNames: The names in its certificate; nil without TLS.
  ///   - decoder: Holds what came behind the hello.
  ///   - started: When it connected.
  convenience init(
    accepting server: ServerContext,
    from address: SocketAddress?,
    through gate: PreAuthenticationGate,
    certifiedNames: Set<String>?,
    decoder: FrameDecoder,
    started: ContinuousClock.Instant,
    loop: any EventLoop
  ) {
    let configuration = server.configuration
    // A node that takes no part in an election knows no voters.
    let peers = configuration.peers
    // What is only proposed keeps no voter out.
    let cluster = { @Sendable in configuration.isConfirmed() ? configuration.cluster() : nil }
    let session = PeerSession(
      .accepting(voters: peers?.names ?? []),
      local: PeerSession.Local(
        name: configuration.nodeName,
        cluster: cluster()
      ),
      certifiedNames: certifiedNames,
      timing: configuration.timing,
      now: started
    )
    let id = PeerConnectionID()
    let environment = Environment(
      clock: configuration.clock,
      metrics: server.metrics,
      cluster: cluster,
      opened: { connection, name in
        gate.open()
        let bound = NIOLoopBound(connection, eventLoop: loop)
        server.voters.enter(name, id) { loop.execute { bound.value.stop(.replaced) } }
        // Every voter connects to every other one, which says that it is connected.
        server.logger.debug("A voter has connected", metadata: ["voter": "\(name)"])
      },
      received: { bytes, name in peers?.receive(bytes, name) },
      ended: { error, name in
        if let name {
          server.voters.leave(name, id)
          server.logger.debug(
            "A voter is gone",
            metadata: ["voter": "\(name)", "reason": "\(error)"]
          )
        } else if error.code != .closed {
          server.refusals.refuse(address, error.code.refusal ?? .other, error.message)
        }
      }
    )
    self.init(session, environment: environment, decoder: decoder, loop: loop)
  }
}
