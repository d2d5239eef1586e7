import LTX
import NIOCore
import Store

@testable import Replication

/// The machines of replication, driven by a peer that says anything in any order.
///
/// An input is a row of operations, each a byte that says which and what it needs. What a machine
/// asks of its shell is answered later or at once, well or with an error. Everything it sends must be
/// something that can be sent.
enum SessionTargets {
  static let all = [primary, replica, voter]

  /// Directives in a row that no single input explains.
  static let mostDirectives = 1000

  /// A message of the type and the payload that the input has next; nil where no decoder lets it by.
  static func frame(_ input: inout FuzzInput, _ kind: Message.Kind) -> Frame? {
    let term = Term(UInt64(input.byte() & 7))
    var reader = WireReader(ByteBuffer(bytes: input.block()))
    guard let message = try? Message(kind, from: &reader), (try? reader.finish()) != nil else {
      return nil
    }
    return Frame(term: term, message: message)
  }

  /// Operations for a row of messages; 4 is the term of both sides.
  private static func script(_ messages: [Message], operations: [UInt8]) -> [UInt8] {
    messages.flatMap { message -> [UInt8] in
      var buffer = ByteBuffer()
      message.encodePayload(into: &buffer)
      return [message.kind.rawValue, 4] + FuzzInput.blocks([Array(buffer.readableBytesView)])
        + operations
    }
  }

  static func seeds(_ kinds: [[Message.Kind]]) -> [[UInt8]] {
    // None of them is the type of a message, and the last takes nothing of what follows.
    let operations: [UInt8] = [0x40, 0x40, 0x40, 0x40, 0x42, 0x45, 8]
    return kinds.map { kinds in
      operations
        + script(
          kinds.compactMap { kind in WireSeeds.messages.first { $0.kind == kind } },
          operations: operations
        )
    }
  }

  static func checkSent(_ message: Message, _ term: Term) throws {
    let bytes = WireSeeds.bytes(Frame(term: term, message: message))
    var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
    decoder.append(ByteBuffer(bytes: bytes))
    try FuzzFinding.check(
      (try? decoder.next()) != nil,
      "a node sends a \(message.kind) that no peer can read"
    )
  }

  // MARK: The primary

  static let primary = FuzzTarget(
    "primary-peer",
    seeds: {
      seeds([
        [.hello, .acknowledgement, .heartbeat, .goodbye],
        [.hello, .snapshotRequest, .acknowledgement, .snapshotRequest], [.acknowledgement],
        [.hello, .hello], [.hello, .refusal], [.hello, .grantRequest, .goodbye],
        [.hello, .grantAnswer],
      ])
    }
  ) { bytes in
    guard let cluster = WireSeeds.cluster else { return }
    var input = FuzzInput(bytes)
    var now = ContinuousClock.now
    var limits = PrimaryPeer.Limits()
    limits.chunk = 1024
    var peer = PrimaryPeer(
      local: PrimaryPeer.Local(name: "primary", cluster: cluster, term: Term(4)),
      certifiedNames: nil,
      limits: limits,
      now: now
    )
    var asked: [PrimaryPeer.Directive] = []
    for _ in 0..<300 where !input.isEmpty {
      let operation = input.byte()
      if let kind = Message.Kind(rawValue: operation) {
        if let frame = frame(&input, kind) { peer.receive(frame, at: now) }
      } else {
        switch operation & 7 {
        case 0, 1:
          if !asked.isEmpty { answer(&peer, asked.removeFirst(), &input, now) }
        case 2: peer.appended(at: now)
        case 3: peer.isWritable.toggle()
        case 4: peer.stop(.stopping)
        case 5:
          peer.answer(
            WireSeeds.grantAnswers[Int(input.byte()) % WireSeeds.grantAnswers.count]
          )
        default:
          now += .milliseconds(Int64(input.byte()) * 100)
          peer.tick(at: now, term: operation & 0x80 == 0 ? Term(4) : Term(5), wallClock: 1)
        }
      }
      var count = 0
      while let directive = peer.next(at: now) {
        count += 1
        try FuzzFinding.check(count < mostDirectives, "a primary's peer never stops asking")
        switch directive {
        case .send(let message): try checkSent(message, peer.term)
        case .recent(let first, _):
          peer.recent(operation & 0x20 == 0 ? batch(first, operation) : nil, at: now)
        case .summarize, .readLog, .openSnapshot, .readSnapshot, .endSnapshot:
          asked.append(directive)
        case .acknowledged, .grant, .dropSnapshot, .noteReplica, .higherTerm: break
        case .close: return
        }
      }
    }
  }

  private static func batch(_ first: LogIndex, _ choice: UInt8) -> LogBatch {
    // A log without an end would be sent without an end.
    guard choice & 1 == 0, first < LogIndex(300) else {
      return LogBatch(
        first: first,
        last: LogIndex(first.rawValue - 1),
        bytes: [],
        commit: LogIndex(UInt64(choice))
      )
    }
    return LogBatch(
      first: first,
      last: first.next,
      bytes: [1, 2, 3],
      commit: LogIndex(UInt64(choice))
    )
  }

  private static func answer(
    _ peer: inout PrimaryPeer,
    _ directive: PrimaryPeer.Directive,
    _ input: inout FuzzInput,
    _ now: ContinuousClock.Instant
  ) {
    let choice = input.byte()
    let refusal = StoreError(choice & 2 == 0 ? .notFound : .invalid, "no")
    let fails = choice & 1 != 0
    switch directive {
    case .summarize:
      peer.summarized(log: WireSeeds.summary, databases: [])
    case .readLog(let first, _):
      peer.read(fails ? .failure(refusal) : .success(batch(first, choice >> 2)), at: now)
    case .openSnapshot(let id, let database, _):
      let begin = SnapshotBegin(
        database: database,
        index: LogIndex(90),
        pageSize: 512,
        pages: 3,
        differing: 2
      )
      peer.opened(id, fails ? .failure(refusal) : .success(begin))
    case .readSnapshot(let id, _):
      let page = SnapshotPage(
        number: PageNumber(UInt32(choice >> 4)),
        bytes: [UInt8](repeating: 1, count: choice & 4 == 0 ? 512 : 100)
      )
      peer.pages(id, fails ? .failure(refusal) : .success(choice & 8 == 0 ? [page] : nil))
    case .endSnapshot(let id):
      let end = SnapshotEnd(index: LogIndex(91), position: WireSeeds.position, pages: 3)
      peer.ended(id, fails ? .failure(refusal) : .success(end))
    case .acknowledged, .grant, .send, .recent, .dropSnapshot, .noteReplica, .higherTerm, .close:
      break
    }
  }

  // MARK: The replica

  static let replica = FuzzTarget(
    "replica-session",
    seeds: {
      seeds([
        [.welcome, .entries, .heartbeat, .entries, .goodbye],
        [.welcome, .snapshotBegin, .snapshotPages, .snapshotEnd, .entries],
        [.welcome, .snapshotFailure], [.refusal], [.entries], [.welcome, .welcome],
        [.welcome, .grantAnswer, .goodbye], [.welcome, .grantRequest],
      ])
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    var now = ContinuousClock.now
    var session = ReplicaSession(
      local: ReplicaSession.Local(
        name: "replica",
        cluster: WireSeeds.cluster,
        term: Term(4),
        wantsReset: false
      ),
      now: now
    )
    var asked: [ReplicaSession.Directive] = []
    for _ in 0..<300 where !input.isEmpty {
      let operation = input.byte()
      if let kind = Message.Kind(rawValue: operation) {
        if let frame = frame(&input, kind) { session.receive(frame, at: now) }
      } else {
        switch operation & 7 {
        case 0, 1:
          if !asked.isEmpty { answer(&session, asked.removeFirst(), &input, now) }
        case 2: session.progressed()
        case 3: session.isWritable.toggle()
        case 4: session.stop()
        case 5:
          session.request(
            WireSeeds.grantRequests[Int(input.byte()) % WireSeeds.grantRequests.count]
          )
        default:
          now += .milliseconds(Int64(input.byte()) * 100)
          session.tick(at: now, wallClock: 1)
        }
      }
      var count = 0
      while let directive = session.next(at: now) {
        count += 1
        try FuzzFinding.check(count < mostDirectives, "a replica's session never stops asking")
        switch directive {
        case .send(let message): try checkSent(message, session.term)
        case .summarize, .perform, .observe, .readChecksums: asked.append(directive)
        case .setReading, .repairFailed, .grantAnswered: break
        case .close: return
        }
      }
    }
  }

  private static func answer(
    _ session: inout ReplicaSession,
    _ directive: ReplicaSession.Directive,
    _ input: inout FuzzInput,
    _ now: ContinuousClock.Instant
  ) {
    let choice = input.byte()
    let refusal = StoreError(choice & 2 == 0 ? .corrupt : .diverged, "no")
    let fails = choice & 1 != 0
    var progress = WireSeeds.progress
    progress.received = LogIndex(90 + UInt64(choice >> 4))
    let repairs = choice & 4 == 0 ? ["app.db"] : ["app.db", "other.db"]
    let state = SinkState(progress: progress, repairs: choice & 8 == 0 ? repairs : [])
    switch directive {
    case .summarize: session.summarized(WireSeeds.summary)
    case .perform: session.finished(fails ? .failure(refusal) : .success(state), at: now)
    case .observe: session.observed(state, at: now)
    case .readChecksums(let id, _):
      session.checksums(id, fails ? .failure(refusal) : .success([.none]), at: now)
    case .send, .setReading, .repairFailed, .grantAnswered, .close: break
    }
  }
}
