import NIOCore
package import Store

/// A message between two nodes. `Frame` describes how it travels.
package enum Message: Sendable {
  case hello(Hello)
  case welcome(Welcome)
  case refusal(Refusal)
  /// From the primary: entries of the log, in order, each sent once on a connection.
  case entries(LogBatch)
  case acknowledgement(Acknowledgement)
  case heartbeat(Heartbeat)
  case snapshotRequest(SnapshotRequest)
  case snapshotBegin(UInt32, SnapshotBegin)
  case snapshotPages(UInt32, [SnapshotPage])
  case snapshotEnd(UInt32, SnapshotEnd)
  case snapshotFailure(UInt32, SnapshotFailure)
  case goodbye(Goodbye)
  case peerHello(PeerHello)
  case peerWelcome(PeerWelcome)
  /// From one voter to another, for the election; at most `WireLimit.peerMessage` bytes.
  case peerMessage([UInt8])
  /// From a replica that writes.
  case grantRequest(GrantRequest)
  case grantAnswer(GrantAnswer)

  /// The type byte of a frame.
  package enum Kind: UInt8, CaseIterable, Sendable {
    case hello = 1
    case welcome = 2
    case refusal = 3
    case entries = 4
    case acknowledgement = 5
    case heartbeat = 6
    case snapshotRequest = 7
    case snapshotBegin = 8
    case snapshotPages = 9
    case snapshotEnd = 10
    case snapshotFailure = 11
    case goodbye = 12
    case peerHello = 13
    case peerWelcome = 14
    case peerMessage = 15
    case grantRequest = 16
    case grantAnswer = 17
  }

  package var kind: Kind {
    switch self {
    case .hello: .hello
    case .welcome: .welcome
    case .refusal: .refusal
    case .entries: .entries
    case .acknowledgement: .acknowledgement
    case .heartbeat: .heartbeat
    case .snapshotRequest: .snapshotRequest
    case .snapshotBegin: .snapshotBegin
    case .snapshotPages: .snapshotPages
    case .snapshotEnd: .snapshotEnd
    case .snapshotFailure: .snapshotFailure
    case .goodbye: .goodbye
    case .peerHello: .peerHello
    case .peerWelcome: .peerWelcome
    case .peerMessage: .peerMessage
    case .grantRequest: .grantRequest
    case .grantAnswer: .grantAnswer
    }
  }

  func encodePayload(into buffer: inout ByteBuffer) {
    switch self {
    case .hello(let hello): hello.encode(into: &buffer)
    case .welcome(let welcome): welcome.encode(into: &buffer)
    case .refusal(let refusal): refusal.encode(into: &buffer)
    case .entries(let batch): batch.encode(into: &buffer)
    case .acknowledgement(let value): value.encode(into: &buffer)
    case .heartbeat(let heartbeat): heartbeat.encode(into: &buffer)
    case .snapshotRequest(let request): request.encode(into: &buffer)
    case .snapshotBegin(let id, let begin):
      buffer.writeInteger(id)
      begin.encode(into: &buffer)
    case .snapshotPages(let id, let pages):
      buffer.writeInteger(id)
      SnapshotPage.encode(pages, into: &buffer)
    case .snapshotEnd(let id, let end):
      buffer.writeInteger(id)
      end.encode(into: &buffer)
    case .snapshotFailure(let id, let failure):
      buffer.writeInteger(id)
      failure.encode(into: &buffer)
    case .goodbye(let goodbye): goodbye.encode(into: &buffer)
    case .peerHello(let hello): hello.encode(into: &buffer)
    case .peerWelcome(let welcome): welcome.encode(into: &buffer)
    case .peerMessage(let bytes):
      precondition(bytes.count <= WireLimit.peerMessage, "a voter's message is too long")
      buffer.writeBytes(bytes)
    case .grantRequest(let request): request.encode(into: &buffer)
    case .grantAnswer(let answer): answer.encode(into: &buffer)
    }
  }

  init(_ kind: Kind, from reader: inout WireReader) throws(ReplicationError) {
    switch kind {
    case .hello: self = .hello(try Hello(from: &reader))
    case .welcome: self = .welcome(try Welcome(from: &reader))
    case .refusal: self = .refusal(try Refusal(from: &reader))
    case .entries: self = .entries(try LogBatch(from: &reader))
    case .acknowledgement: self = .acknowledgement(try Acknowledgement(from: &reader))
    case .heartbeat: self = .heartbeat(try Heartbeat(from: &reader))
    case .snapshotRequest: self = .snapshotRequest(try SnapshotRequest(from: &reader))
    case .snapshotBegin:
      let id = try reader.integer(UInt32.self)
      self = .snapshotBegin(id, try SnapshotBegin(from: &reader))
    case .snapshotPages:
      let id = try reader.integer(UInt32.self)
      self = .snapshotPages(id, try SnapshotPage.list(from: &reader))
    case .snapshotEnd:
      let id = try reader.integer(UInt32.self)
      self = .snapshotEnd(id, try SnapshotEnd(from: &reader))
    case .snapshotFailure:
      let id = try reader.integer(UInt32.self)
      self = .snapshotFailure(id, try SnapshotFailure(from: &reader))
    case .goodbye: self = .goodbye(try Goodbye(from: &reader))
    case .peerHello: self = .peerHello(try PeerHello(from: &reader))
    case .peerWelcome: self = .peerWelcome(try PeerWelcome(from: &reader))
    case .peerMessage: self = .peerMessage(try reader.peerMessage())
    case .grantRequest: self = .grantRequest(try GrantRequest(from: &reader))
    case .grantAnswer: self = .grantAnswer(try GrantAnswer(from: &reader))
    }
  }
}
