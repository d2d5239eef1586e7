import Logging
import NIOCore
import NIOSSL
import Store

/// One accepted connection, on its event loop: the shell of `PrimaryPeer`, until the peer's first word
/// tells that it is a voter and not a replica. Then a `PeerConnection` takes its place.
final class ServerConnection: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// How often time is looked at, as a part of the heartbeat's interval.
  private static let ticksPerHeartbeat = 2
  /// How long entries that nobody waits for are held together.
  private static let spacing = TimeAmount.microseconds(500)

  let server: ServerContext
  private let gate: PreAuthenticationGate
  /// Nil without TLS.
  private let verdict: PeerVerdict?
  let loop: any EventLoop
  private let started: ContinuousClock.Instant
  private let logReads = BlockingQueue()
  let snapshotReads = BlockingQueue()

  private var context: ChannelHandlerContext?
  private var address: SocketAddress?
  private var decoder = FrameDecoder(maxPayload: Frame.maxHelloPayload)
  private let writer: FrameWriter
  /// Nil until the peer has said its hello.
  var peer: PrimaryPeer?
  /// What has taken this handler's place.
  private var voter: PeerConnection?
  var snapshot: (id: UInt32, source: any SnapshotSource)?
  /// Nil for a replica that cannot ask for grants.
  var lender: (any GrantLender)?
  private var ticks: RepeatedTask?
  /// What the registry was told last.
  private var published: ReplicaProgress?
  private var appends: SubscriptionToken?
  private var packer = LogPacker()
  private var isPumping = false
  private var isAdmitted = false
  private(set) var isClosing = false

  init(
    server: ServerContext,
    gate: PreAuthenticationGate,
    verdict: PeerVerdict?,
    loop: any EventLoop
  ) {
    self.server = server
    self.gate = gate
    self.verdict = verdict
    self.loop = loop
    started = server.configuration.clock.now()
    writer = FrameWriter(metrics: server.metrics)
  }

  /// Whether entries are packed for this peer.
  private var packs: Bool { peer?.features.contains(.packedEntries) ?? false }

  private var now: ContinuousClock.Instant { server.configuration.clock.now() }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    address = context.channel.remoteAddress
    let me = NIOLoopBound(self, eventLoop: loop)
    let interval = TimeAmount(server.configuration.timing.heartbeat / Self.ticksPerHeartbeat)
    ticks = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
      me.value.tick()
    }
  }

  func channelActive(context: ChannelHandlerContext) {
    address = context.channel.remoteAddress
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isClosing else { return }
    let bytes = unwrapInboundIn(data)
    server.metrics.count { $0.bytesReceived += bytes.readableBytes }
    let now = now
    peer?.heard(at: now)
    decoder.append(bytes)
    do throws(ReplicationError) {
      while !isClosing, let frame = try decoder.next() {
        if peer == nil {
          if case .peerHello = frame.message { return handOver(frame, context) }
          identify()
        }
        server.metrics.received(frame.message)
        peer?.receive(frame, at: now)
        pump()
      }
    } catch {
      malformed(error)
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    peer?.isWritable = context.channel.isWritable
    pump()
    context.fireChannelWritabilityChanged()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if let refused = error as? PreAuthenticationGate.Refused {
      end(ReplicationError(.refused(refused.reason), refused.text))
    } else if case .failure(let rejection)? = verdict?.result {
      end(ReplicationError(.refused(rejection.reason), rejection.text))
    } else if isAdmitted {
      end(ReplicationError(.closed, "The connection broke.", cause: error))
    } else {
      let failure = TLSFailure(error)
      end(ReplicationError(.refused(failure.reason), failure.text))
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(
      isAdmitted
        ? ReplicationError(.closed, "The replica closed the connection.")
        : ReplicationError(
          .refused(.halfOpen),
          "The peer hung up before it had said who it is."
        )
    )
    context.fireChannelInactive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  // MARK: Inputs of the machine

  /// The names in the peer's certificate; nil without TLS.
  private var certifiedNames: Set<String>? {
    guard let verdict else { return nil }
    // Without a good verdict TLS gives no bytes; without names no hello is accepted.
    return (try? verdict.result?.get())?.names ?? []
  }

  private func identify() {
    let configuration = server.configuration
    peer = PrimaryPeer(
      local: PrimaryPeer.Local(
        name: configuration.nodeName,
        cluster: configuration.cluster(),
        term: server.term(),
        primary: configuration.primary(),
        features: configuration.isConfirmed()
          ? configuration.features : configuration.features.subtracting(.confirmedCluster)
      ),
      certifiedNames: certifiedNames,
      timing: configuration.timing,
      limits: configuration.peerLimits,
      now: started
    )
    peer?.isWritable = context?.channel.isWritable ?? false
  }

  /// Leaves the channel to a handler for voters.
  private func handOver(_ hello: Frame, _ context: ChannelHandlerContext) {
    let connection = PeerConnection(
      accepting: server,
      from: address,
      through: gate,
      certifiedNames: certifiedNames,
      decoder: decoder,
      started: started,
      loop: loop
    )
    do {
      try context.pipeline.syncOperations.addHandler(connection, position: .after(self))
    } catch {
      return end(ReplicationError(.closed, "The connection broke.", cause: error))
    }
    voter = connection
    isClosing = true
    ticks?.cancel()
    ticks = nil
    context.pipeline.syncOperations.removeHandler(self, promise: nil)
    connection.takeOver(with: hello)
  }

  private func tick() {
    let now = now
    if peer == nil, now - started >= server.configuration.timing.handshake {
      return end(
        ReplicationError(
          .refused(.halfOpen),
          "The peer did not finish its handshake in \(server.configuration.timing.handshake)."
        )
      )
    }
    peer?.tick(at: now, term: server.term(), wallClock: server.configuration.clock.wallClock())
    pump()
    publish()
  }

  private func malformed(_ error: ReplicationError) {
    if isAdmitted {
      peer?.violation(error.message)
      pump()
    } else {
      end(ReplicationError(.refused(.malformed), error.message))
    }
  }

  /// Ends the session from the server's side.
  func stop(_ reason: Goodbye.Reason) {
    if let voter { return voter.stop(reason) }
    if peer == nil { return end(ReplicationError(.closed, "The node stops.")) }
    peer?.stop(reason)
    pump()
  }

  /// Ends the session of a replica; false when the peer is none, or has not said yet what it is.
  func stopReplica(_ reason: Goodbye.Reason) -> Bool {
    guard peer != nil else { return false }
    stop(reason)
    return true
  }

  // MARK: Directives

  func pump() {
    guard !isPumping, let context else { return }
    isPumping = true
    let now = now
    while !isClosing, let directive = peer?.next(at: now) {
      perform(directive, at: now, context)
    }
    isPumping = false
    writer.flush(context)
    if !isAdmitted, !isClosing, peer?.isStreaming == true { admit() }
    // A hand-over waits for it.
    if let peer, peer.hasEverything, peer.progress != published { publish() }
  }

  private func perform(
    _ directive: PrimaryPeer.Directive,
    at now: ContinuousClock.Instant,
    _ context: ChannelHandlerContext
  ) {
    let source = server.source
    switch directive {
    case .send(let message):
      writer.write(message, term: peer?.term ?? .zero, to: context)
    case .recent(let first, let maxBytes):
      var batch = source.recent(from: first, maxBytes: maxBytes)
      if packs { batch = batch.map { packer.pack($0) } }
      peer?.recent(batch, at: now)
    case .summarize(let name):
      ask(logReads) {
        source.endLending(to: name)
        // The log first: what is created in between is then in the entries that follow.
        let base = source.committedEntry
        let log = source.logSummary()
        return (log, source.databases(), base, source.isWhole)
      } then: {
        $0.peer?.summarized(log: $1.0, databases: $1.1, base: $1.2, isWhole: $1.3)
      }
    case .readLog(let first, let maxBytes):
      let packs = self.packs
      ask(logReads) {
        Result { () throws(StoreError) in
          let batch = try source.read(from: first, maxBytes: maxBytes)
          guard packs else { return batch }
          var packer = LogPacker()
          return packer.pack(batch)
        }
      } then: {
        $0.peer?.read($1, at: $0.now)
      }
    case .acknowledged(let name, let index): source.acknowledged(by: name, through: index)
    case .grant(let request): lender?.receive(request)
    case .noteReplica(let name, let needs):
      logReads.submit { source.noteReplica(name, needs: needs) }
    case .higherTerm(let term): server.configuration.onHigherTerm(term)
    case .close(let error): end(error)
    case .openSnapshot, .readSnapshot, .endSnapshot, .dropSnapshot: performSnapshot(directive)
    }
  }

  /// Makes a blocking call, and hands its answer to the machine back on the event loop.
  func ask<Answer: Sendable>(
    _ queue: BlockingQueue,
    _ call: @escaping @Sendable () -> Answer,
    then: @escaping @Sendable (ServerConnection, Answer) -> Void
  ) {
    let me = NIOLoopBound(self, eventLoop: loop)
    let loop = loop
    queue.submit {
      let answer = call()
      loop.execute {
        guard !me.value.isClosing else { return }
        then(me.value, answer)
        me.value.pump()
      }
    }
  }

  // MARK: Life

  private func admit() {
    guard let name = peer?.name else { return }
    isAdmitted = true
    gate.open()
    decoder.maxPayload = Frame.maxRequestPayload
    let me = NIOLoopBound(self, eventLoop: loop)
    let loop = loop
    server.registry.enter(
      PeerStatus(
        name: name,
        address: address?.ipAddress ?? "unknown",
        isConnected: true,
        progress: peer?.progress ?? .none,
        lag: .zero,
        snapshot: nil
      ),
      connection: ObjectIdentifier(self),
      now: now
    ) { reason in loop.execute { me.value.stop(reason) } }
    lend(to: name)
    server.metrics.count { $0.replicasConnected += 1 }
    server.logger.info("A replica is connected", metadata: ["replica": "\(name)"])
    let waker = LoopWaker(loop, spacing: Self.spacing) { me.value.woken() }
    let source = server.source
    ask(logReads) {
      source.onAppend { waker.wake(atOnce: source.isAwaited) }
    } then: { connection, token in
      connection.appends = token
      // What was appended before the subscription began.
      connection.peer?.appended(at: connection.now)
    }
  }

  private func woken() {
    guard !isClosing else { return }
    peer?.appended(at: now)
    pump()
  }

  private func publish() {
    guard isAdmitted, let peer, let name = peer.name else { return }
    let now = now
    published = peer.progress
    server.registry.update(name, connection: ObjectIdentifier(self), now: now) { status in
      status.progress = peer.progress
      status.lag = peer.lag(at: now)
      status.snapshot = peer.snapshotProgress
    }
  }

  /// The end of the connection, whoever wanted it; only the first call counts.
  private func end(_ error: ReplicationError) {
    guard !isClosing else { return }
    isClosing = true
    ticks?.cancel()
    ticks = nil
    appends = nil
    snapshot = nil
    endLending()
    if isAdmitted, let name = peer?.name {
      server.registry.update(name, connection: ObjectIdentifier(self), now: now) { status in
        status.isConnected = false
        status.snapshot = nil
      }
      server.metrics.count { $0.replicasConnected -= 1 }
      server.logger.info(
        "A replica is gone",
        metadata: ["replica": "\(name)", "reason": "\(error)"]
      )
    } else if error.code != .closed {
      server.refusals.refuse(address, error.code.refusal ?? .other, error.message)
    }
    guard let context else { return }
    writer.flush(context)
    context.close(promise: nil)
  }
}

extension ReplicaProgress {
  /// Nothing yet.
  static let none = ReplicaProgress(received: .zero, durable: .zero, applied: .zero, repairing: 0)
}
