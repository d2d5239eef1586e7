import NIOCore
import Replication
import Store
import Testing

@Suite struct FrameTests {
  /// Decodes what the bytes hold; nil when they are an incomplete frame.
  private func decode(_ bytes: [UInt8]) throws -> Frame? {
    var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
    decoder.append(ByteBuffer(bytes: bytes))
    return try decoder.next()
  }

  @Test func everyKindIsCovered() {
    #expect(Set(Samples.messages.map(\.kind)) == Set(Message.Kind.allCases))
  }

  @Test(arguments: Message.Kind.allCases)
  func aMessageSurvivesTheJourney(kind: Message.Kind) throws {
    let message = try #require(Samples.messages.first { $0.kind == kind })
    let bytes = Samples.bytes(of: Frame(term: Term(4), message: message))
    let frame = try #require(try decode(bytes))
    #expect(frame.term == Term(4))
    #expect(frame.message.kind == message.kind)
    // Equal encodings stand for equal messages: the encoding leaves nothing out.
    #expect(Samples.bytes(of: frame) == bytes)
  }

  @Test func theFieldsArrive() throws {
    for message in Samples.messages {
      let bytes = Samples.bytes(of: Frame(term: Term(1), message: message))
      switch (message, try #require(try decode(bytes)).message) {
      case (.hello(let a), .hello(let b)): #expect(a == b)
      case (.welcome(let a), .welcome(let b)): #expect(a == b)
      case (.refusal(let a), .refusal(let b)): #expect(a == b)
      case (.entries(let a), .entries(let b)):
        #expect(a.first == b.first && a.last == b.last && a.bytes == b.bytes)
      case (.acknowledgement(let a), .acknowledgement(let b)): #expect(a == b)
      case (.heartbeat(let a), .heartbeat(let b)): #expect(a == b)
      case (.snapshotRequest(let a), .snapshotRequest(let b)): #expect(a == b)
      case (.snapshotBegin(let i, let a), .snapshotBegin(let j, let b)): #expect(i == j && a == b)
      case (.snapshotPages(let i, let a), .snapshotPages(let j, let b)): #expect(i == j && a == b)
      case (.snapshotEnd(let i, let a), .snapshotEnd(let j, let b)): #expect(i == j && a == b)
      case (.snapshotFailure(let i, let a), .snapshotFailure(let j, let b)):
        #expect(i == j && a == b)
      case (.goodbye(let a), .goodbye(let b)): #expect(a == b)
      case (.peerHello(let a), .peerHello(let b)): #expect(a == b)
      case (.peerWelcome(let a), .peerWelcome(let b)): #expect(a == b)
      case (.peerMessage(let a), .peerMessage(let b)): #expect(a == b)
      case (.grantRequest(let a), .grantRequest(let b)): #expect(a == b)
      case (.grantAnswer(let a), .grantAnswer(let b)): #expect(a == b)
      default: Issue.record("\(message.kind) changed its kind")
      }
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func framesAreCutFromAnyChunks() throws {
    var stream: [UInt8] = []
    for message in Samples.messages {
      stream += Samples.bytes(of: Frame(term: Term(2), message: message))
    }
    for size in [1, 2, 3, 7, 64, 1000, stream.count] {
      var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
      var kinds: [Message.Kind] = []
      for start in stride(from: 0, to: stream.count, by: size) {
        decoder.append(ByteBuffer(bytes: stream[start..<min(start + size, stream.count)]))
        while let frame = try decoder.next() { kinds.append(frame.message.kind) }
      }
      #expect(kinds == Samples.messages.map(\.kind))
      #expect(decoder.pendingBytes == 0)
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: Message.Kind.allCases)
  func everyFlippedBitIsNoticed(kind: Message.Kind) throws {
    let message = try #require(Samples.messages.first { $0.kind == kind })
    let bytes = Samples.bytes(of: Frame(term: Term(4), message: message))
    for bit in 0..<(bytes.count * 8) {
      var flipped = bytes
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      // A longer length makes the decoder wait for more, which ends with the peer's silence.
      guard let frame = try? decode(flipped) else { continue }
      Issue.record("bit \(bit) of \(kind) became \(frame.message.kind) unnoticed")
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: Message.Kind.allCases)
  func aTruncatedFrameIsNeverAMessage(kind: Message.Kind) throws {
    let message = try #require(Samples.messages.first { $0.kind == kind })
    let bytes = Samples.bytes(of: Frame(term: Term(4), message: message))
    for count in 0..<bytes.count {
      #expect(try decode(Array(bytes[..<count])) == nil)
    }
    // With a length that claims the truncated payload is all there is.
    for count in Frame.headerSize..<bytes.count {
      var short = Array(bytes[..<count])
      let length = UInt32(count - 4)
      for place in 0..<4 {
        short[place] = UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * place))
      }
      #expect(throws: ReplicationError.self) { try decode(short) }
    }
  }

  /// Damage with a correct checksum, as from a faulty or hostile peer: an error or another message,
  /// never a trap.
  @Test(.timeLimit(.minutes(2)), arguments: Message.Kind.allCases)
  func damagedPayloadsNeverTrap(kind: Message.Kind) throws {
    let message = try #require(Samples.messages.first { $0.kind == kind })
    let seed: UInt64 = 0x5eed
    var random = SeededGenerator(seed: seed)
    let payload = Array(
      Samples.bytes(of: Frame(term: Term(4), message: message))[Frame.headerSize...]
    )
    for _ in 0..<3_000 {
      var damaged = payload
      for _ in 0..<Int.random(in: 1...4, using: &random) where !damaged.isEmpty {
        let place = Int.random(in: 0..<damaged.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: damaged[place] = .random(in: 0...255, using: &random)
        case 1: damaged[place] = 255
        case 2: damaged.removeLast(min(damaged.count, place + 1))
        default: damaged.insert(.random(in: 0...255, using: &random), at: place)
        }
      }
      let bytes = Samples.sealed(type: message.kind.rawValue, term: 4, payload: damaged)
      if let frame = try? decode(bytes) {
        #expect(Samples.bytes(of: frame).count <= bytes.count + 2, "seed \(seed)")
      }
    }
  }

  @Test func randomBytesNeverTrap() {
    var random = SeededGenerator(seed: 99)
    for _ in 0..<2_000 {
      let count = Int.random(in: 0..<200, using: &random)
      let payload = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      for kind in Message.Kind.allCases {
        _ = try? decode(Samples.sealed(type: kind.rawValue, term: 1, payload: payload))
      }
      _ = try? decode(payload)
    }
  }

  @Test func aLengthOverTheBoundIsRefusedBeforeItsBytesArrive() {
    for length in [UInt32.max, UInt32(Frame.maxPayload + 18), 16, 0] {
      var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
      decoder.append(ByteBuffer(integer: length))
      #expect(throws: ReplicationError.self) { try decoder.next() }
    }
    var decoder = FrameDecoder(maxPayload: Frame.maxHelloPayload)
    decoder.append(ByteBuffer(integer: UInt32(Frame.maxHelloPayload + 18)))
    #expect(throws: ReplicationError.self) { try decoder.next() }
  }

  @Test func anUnknownTypeAndATermOutOfRangeAreRefused() {
    #expect(throws: ReplicationError.self) {
      try decode(Samples.sealed(type: 200, term: 1, payload: []))
    }
    let heartbeat = Samples.bytes(of: Frame(term: Term(1), message: Samples.messages[5]))
    #expect(throws: ReplicationError.self) {
      try decode(
        Samples.sealed(
          type: Message.Kind.heartbeat.rawValue,
          term: .max,
          payload: Array(heartbeat[Frame.headerSize...])
        )
      )
    }
  }

  @Test func aVotersMessageIsBounded() throws {
    let type = Message.Kind.peerMessage.rawValue
    let longest = [UInt8](repeating: 7, count: WireLimit.peerMessage)
    guard
      case .peerMessage(let bytes)? = try decode(
        Samples.sealed(type: type, term: 0, payload: longest)
      )?.message
    else {
      Issue.record("not a voter's message")
      return
    }
    #expect(bytes == longest)
    #expect(throws: ReplicationError.self) {
      try decode(Samples.sealed(type: type, term: 0, payload: longest + [7]))
    }
  }

  @Test func aLongTextIsCutAtACharacter() throws {
    let text = String(repeating: "ü", count: WireLimit.text)
    let bytes = Samples.bytes(
      of: Frame(
        term: Term(1),
        message: .goodbye(Goodbye(reason: .failure, text: "x" + text))
      )
    )
    guard case .goodbye(let goodbye)? = try decode(bytes)?.message else {
      Issue.record("not a goodbye")
      return
    }
    #expect(goodbye.text.utf8.count == WireLimit.text - 1)
  }
}
