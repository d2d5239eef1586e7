import Logging
import NIOCore
import Store

/// The shell of `ReplicaSession`: one connection to the primary, on its event loop.
final class ReplicaConnection: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// What the connection needs of its client.
  struct Environment: Sendable {
    var sink: any ReplicationSink
    var record: any ClusterRecord
    var clock: ReplicationClock
    var timing: SessionTiming
    var metrics: ReplicationMetrics
    var logger: Logger
    /// Called after each change, on the event loop.
    var publish: @Sendable (ReplicaSession) -> Void
    /// Called once, on the event loop.
    var ended: @Sendable (ReplicationError, ReplicaSession) -> Void
  }

  /// How often time is looked at, as a part of the heartbeat's interval.
  private static let ticksPerHeartbeat = 2

  let environment: Environment
  private let verdict: PeerVerdict?
  let loop: any EventLoop
  /// Work on the log and the databases, in order.
  private let work = BlockingQueue()
  /// Questions that need not wait for the work.
  private let questions = BlockingQueue()
  /// Reading page checksums, which takes long for a large database.
  private let comparisons = BlockingQueue()

  var session: ReplicaSession
  private var context: ChannelHandlerContext?
  private var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
  private let writer: FrameWriter
  private var ticks: RepeatedTask?
  private var progress: SubscriptionToken?
  private var isPumping = false
  /// Whether a later `pump` is scheduled.
  private var isPumpDue = false
  private var isIdentified = false
  private var isSubscribed = false
  /// Whether the sink was told that it may ask for grants.
  var isConnected = false
  private(set) var isClosing = false

  init(
    _ session: ReplicaSession,
    environment: Environment,
    verdict: PeerVerdict?,
    loop: any EventLoop
  ) {
    self.session = session
    self.environment = environment
    self.verdict = verdict
    self.loop = loop
    writer = FrameWriter(metrics: environment.metrics)
  }

  private var now: ContinuousClock.Instant { environment.clock.now() }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    let me = NIOLoopBound(self, eventLoop: loop)
    let interval = TimeAmount(environment.timing.heartbeat / Self.ticksPerHeartbeat)
    ticks = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
      me.value.tick()
    }
    // TLS holds the hello back until it has verified the primary.
    pump()
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isClosing else { return }
    let bytes = unwrapInboundIn(data)
    environment.metrics.count { $0.bytesReceived += bytes.readableBytes }
    let now = now
    if !isIdentified {
      isIdentified = true
      if let verdict { session.certifiedNames = (try? verdict.result?.get())?.names ?? [] }
    }
    session.heard(at: now)
    decoder.append(bytes)
    do throws(ReplicationError) {
      while !isClosing, let frame = try decoder.next() {
        environment.metrics.received(frame.message)
        session.receive(frame, at: now)
        pump()
      }
    } catch {
      session.violation(error.message)
      pump()
    }
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
        peer: "primary",
        verdict: verdict,
        isIdentified: isIdentified
      )
    )
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(ReplicationError(.closed, "The primary closed the connection."))
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
    session.stop()
    pump()
    promise?.succeed()
  }

  // MARK: Inputs of the machine

  private func tick() {
    session.tick(at: now, wallClock: environment.clock.wallClock())
    pump()
  }

  // MARK: Directives

  func pump() {
    guard !isPumping, let context else { return }
    isPumping = true
    let now = now
    while !isClosing, let directive = session.next(at: now) {
      perform(directive, context)
    }
    isPumping = false
    writer.flush(context)
    guard !isClosing else { return }
    if !isSubscribed, session.isStreaming { subscribe() }
    environment.publish(session)
    pumpLater(at: session.nextWord)
  }

  private func pumpLater(at instant: ContinuousClock.Instant?) {
    guard let instant, !isPumpDue else { return }
    isPumpDue = true
    let me = NIOLoopBound(self, eventLoop: loop)
    loop.scheduleTask(in: TimeAmount(max(.zero, instant - now))) {
      me.value.isPumpDue = false
      me.value.pump()
    }
  }

  private func perform(_ directive: ReplicaSession.Directive, _ context: ChannelHandlerContext) {
    let sink = environment.sink
    let record = environment.record
    switch directive {
    case .summarize:
      ask(questions) {
        sink.logSummary()
      } then: {
        $0.session.summarized($1)
      }
    case .send(let message): writer.write(message, term: session.term, to: context)
    case .perform(let item):
      ask(work) {
        Result { () throws(StoreError) in
          if case .prepare(let preparation) = item {
            try record.adopt(
              cluster: preparation.cluster,
              term: preparation.term,
              isConfirmed: preparation.isConfirmed
            )
          }
          return try item.perform(on: sink)
        }
      } then: { connection, result in
        if case .endSnapshot = item, case .success = result {
          connection.environment.metrics.count { $0.snapshotsReceived += 1 }
        }
        connection.session.finished(result, at: connection.now)
      }
    case .observe:
      ask(questions) {
        SinkState(sink)
      } then: {
        $0.session.observed($1, at: $0.now)
      }
    case .readChecksums(let id, let database):
      ask(comparisons) {
        Result { () throws(StoreError) in try sink.snapshotChecksums(of: database) }
      } then: {
        $0.session.checksums(id, $1, at: $0.now)
      }
    case .setReading(let isReading):
      try? context.channel.syncOptions?.setOption(.autoRead, value: isReading)
      if isReading { context.read() }
    case .repairFailed(let database, let error):
      environment.metrics.count { $0.snapshotsFailed += 1 }
      environment.logger.warning(
        "A snapshot failed and will be tried again",
        metadata: ["database": "\(database)", "error": "\(error)"]
      )
    case .grantAnswered(let answer): received(answer)
    case .close(let error): end(error)
    }
  }

  /// Makes a blocking call, and hands its answer to the machine back on the event loop.
  private func ask<Answer: Sendable>(
    _ queue: BlockingQueue,
    _ call: @escaping @Sendable () -> Answer,
    then: @escaping @Sendable (ReplicaConnection, Answer) -> Void
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

  private func subscribe() {
    isSubscribed = true
    connect()
    let me = NIOLoopBound(self, eventLoop: loop)
    let spacing = TimeAmount(environment.timing.acknowledgement)
    let waker = LoopWaker(loop, spacing: spacing) { me.value.progressed() }
    let sink = environment.sink
    ask(questions) {
      sink.onProgress { waker.wake(atOnce: sink.isAwaited) }
    } then: { connection, token in
      connection.progress = token
      // What happened before the subscription began.
      connection.session.progressed()
    }
  }

  private func progressed() {
    guard !isClosing else { return }
    session.progressed()
    pump()
  }

  /// The end of the connection, whoever wanted it; only the first call counts.
  ///
  /// It is reported only after the work that is under way: the next connection must not find the sink
  /// in the middle of something.
  private func end(_ error: ReplicationError) {
    guard !isClosing else { return }
    isClosing = true
    disconnect()
    ticks?.cancel()
    ticks = nil
    progress = nil
    if let context {
      writer.flush(context)
      context.close(promise: nil)
    }
    let ended = environment.ended
    let session = session
    let loop = loop
    let (questions, comparisons) = (questions, comparisons)
    work.submit {
      questions.submit { comparisons.submit { loop.execute { ended(error, session) } } }
    }
  }
}
