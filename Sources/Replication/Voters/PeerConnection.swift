import NIOCore
import Store

/// The shell of `PeerSession`: one connection between two voters, on its event loop.
final class PeerConnection: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// What the connection needs of its owner.
  struct Environment {
    var clock: ReplicationClock
    var metrics: ReplicationMetrics
    /// This node's cluster; nil before it has joined one.
    var cluster: @Sendable () -> ClusterID?
    /// The two have agreed to talk. Called at most once, on the event loop.
    var opened: (PeerConnection, _ name: String) -> Void
    /// Called for each message, on the event loop.
    var received: ([UInt8], _ from: String) -> Void
    /// Called once, on the event loop; with the peer's name if the two had agreed to talk.
    var ended: (ReplicationError, _ name: String?) -> Void
  }

  /// How often time is looked at, as a part of the heartbeat's interval.
  private static let ticksPerHeartbeat = 2

  private let environment: Environment
  /// Nil without TLS, and where the session knows the names already.
  private let verdict: PeerVerdict?
  private let loop: any EventLoop

  private var session: PeerSession
  private var decoder: FrameDecoder
  private let writer: FrameWriter
  private var context: ChannelHandlerContext?
  private var ticks: RepeatedTask?
  private var isPumping = false
  private var hasOpened = false
  private var isClosing = false

  /// - Parameter decoder: What has read this connection so far, when somebody else has.
  init(
    _ session: PeerSession,
    environment: Environment,
    verdict: PeerVerdict? = nil,
    decoder: FrameDecoder = FrameDecoder(maxPayload: Frame.maxPeerPayload),
    loop: any EventLoop
  ) {
    self.session = session
    self.environment = environment
    self.verdict = verdict
    self.loop = loop
    self.decoder = decoder
    self.decoder.maxPayload = Frame.maxPeerPayload
    writer = FrameWriter(metrics: environment.metrics)
  }

  private var now: ContinuousClock.Instant { environment.clock.now() }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if context.channel.isActive { begin() }
  }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    begin()
    context.fireChannelActive()
  }

  private func begin() {
    guard ticks == nil, !isClosing else { return }
    let me = NIOLoopBound(self, eventLoop: loop)
    let interval = TimeAmount(session.timing.heartbeat / Self.ticksPerHeartbeat)
    ticks = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
      me.value.tick()
    }
    // TLS holds the hello back until it has verified the voter.
    pump()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isClosing else { return }
    let bytes = unwrapInboundIn(data)
    environment.metrics.count { $0.bytesReceived += bytes.readableBytes }
    if let verdict, session.certifiedNames == nil {
      session.certifiedNames = (try? verdict.result?.get())?.names ?? []
    }
    session.heard(at: now)
    decoder.append(bytes)
    receiveFrames()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    session.isWritable = context.channel.isWritable
    pump()
    context.fireChannelWritabilityChanged()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(
      .broken(
        error,
        peer: "voter",
        verdict: verdict,
        isIdentified: verdict == nil || session.certifiedNames != nil
      )
    )
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(ReplicationError(.closed, "The voter closed the connection."))
    context.fireChannelInactive()
  }

  func triggerUserOutboundEvent(
    context: ChannelHandlerContext,
    event: Any,
    promise: EventLoopPromise<Void>?
  ) {
    guard event is StopEvent else {
      return context.triggerUserOutboundEvent(event, promise: promise)
    }
    stop(.stopping)
    promise?.succeed()
  }

  // MARK: Inputs of the machine

  /// A frame that somebody else has taken off this connection, and what was read behind it.
  func takeOver(with frame: Frame) {
    receive(frame)
    receiveFrames()
  }

  /// Sends messages, one after the other; drops what cannot be sent now.
  func send(_ messages: [[UInt8]]) {
    guard !isClosing else { return }
    for message in messages { session.send(message) }
    pump()
  }

  func stop(_ reason: Goodbye.Reason) {
    session.stop(reason)
    pump()
  }

  private func receiveFrames() {
    do throws(ReplicationError) {
      while !isClosing, let frame = try decoder.next() { receive(frame) }
    } catch {
      session.malformed(error)
      pump()
    }
  }

  /// Frames between voters have no term of their own: what they carry has.
  private func receive(_ frame: Frame) {
    environment.metrics.received(frame.message)
    session.receive(frame.message, at: now)
    pump()
  }

  private func tick() {
    session.tick(
      at: now,
      cluster: environment.cluster(),
      wallClock: environment.clock.wallClock()
    )
    pump()
  }

  // MARK: Directives

  private func pump() {
    guard !isPumping, let context else { return }
    isPumping = true
    let now = now
    while !isClosing, let directive = session.next(at: now) {
      switch directive {
      case .send(let message): writer.write(message, term: .zero, to: context)
      case .deliver(let bytes, let name): environment.received(bytes, name)
      case .close(let error): end(error)
      }
    }
    isPumping = false
    writer.flush(context)
    guard !isClosing, !hasOpened, session.isOpen, let name = session.name else { return }
    hasOpened = true
    session.isWritable = context.channel.isWritable
    environment.opened(self, name)
  }

  /// The end of the connection, whoever wanted it; only the first call counts.
  private func end(_ error: ReplicationError) {
    guard !isClosing else { return }
    isClosing = true
    ticks?.cancel()
    ticks = nil
    if let context {
      writer.flush(context)
      context.close(promise: nil)
    }
    environment.ended(error, session.name)
  }
}
