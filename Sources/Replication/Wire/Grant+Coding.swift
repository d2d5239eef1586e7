import NIOCore
import Store

// A byte for the case, the grant's id in eight bytes, then what the case carries.

extension GrantRequest {
  private enum Tag: UInt8 {
    case ask = 1
    case giveBack = 2
    case append = 3
    case readIndex = 4
  }

  /// - Precondition: What is appended is a transaction or a part of one, not empty, and at most
  ///   `WireLimit.appended` bytes long.
  func encode(into buffer: inout ByteBuffer) {
    switch self {
    case .ask(let id, let database):
      buffer.writeGrant(Tag.ask.rawValue, id)
      buffer.writeText(database, max: WireLimit.database)
    case .giveBack(let id): buffer.writeGrant(Tag.giveBack.rawValue, id)
    case .append(let id, let kind, let payload):
      precondition(kind.isAppendable, "a replica appends what is no transaction")
      precondition(
        !payload.isEmpty && payload.count <= WireLimit.appended,
        "a replica appends nothing, or too much at a time"
      )
      buffer.writeGrant(Tag.append.rawValue, id)
      buffer.writeInteger(kind.rawValue)
      buffer.writeBytes(payload)
    case .readIndex(let id): buffer.writeGrant(Tag.readIndex.rawValue, id)
    }
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    guard let tag = Tag(rawValue: try reader.integer()) else {
      throw ReplicationError(.malformed, "A request for a grant is of an unknown kind.")
    }
    let id = try reader.grant()
    switch tag {
    case .ask: self = .ask(id, database: try reader.databaseName())
    case .giveBack: self = .giveBack(id)
    case .append:
      let kind = try reader.appendedKind()
      self = .append(id, kind, payload: try reader.appended())
    case .readIndex: self = .readIndex(id)
    }
  }
}

extension GrantAnswer {
  private enum Tag: UInt8 {
    case given = 1
    case recalled = 2
    case ended = 3
    case appended = 4
    case refused = 5
    case readIndex = 6
  }

  func encode(into buffer: inout ByteBuffer) {
    switch self {
    case .given(let id, let last):
      buffer.writeGrant(Tag.given.rawValue, id)
      buffer.writeInteger(last.rawValue)
    case .recalled(let id): buffer.writeGrant(Tag.recalled.rawValue, id)
    case .ended(let id, let reason):
      buffer.writeGrant(Tag.ended.rawValue, id)
      buffer.writeText(reason, max: WireLimit.text)
    case .appended(let id, let index):
      buffer.writeGrant(Tag.appended.rawValue, id)
      buffer.writeInteger(index.rawValue)
    case .refused(let id, let reason):
      buffer.writeGrant(Tag.refused.rawValue, id)
      buffer.writeText(reason, max: WireLimit.text)
    case .readIndex(let id, let index):
      buffer.writeGrant(Tag.readIndex.rawValue, id)
      buffer.writeInteger(index.rawValue)
    }
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    guard let tag = Tag(rawValue: try reader.integer()) else {
      throw ReplicationError(.malformed, "An answer about a grant is of an unknown kind.")
    }
    let id = try reader.grant()
    switch tag {
    case .given: self = .given(id, through: try reader.index())
    case .recalled: self = .recalled(id)
    case .ended: self = .ended(id, reason: try reader.text(max: WireLimit.text))
    case .appended: self = .appended(id, try reader.index())
    case .refused: self = .refused(id, reason: try reader.text(max: WireLimit.text))
    case .readIndex: self = .readIndex(id, try reader.index())
    }
  }
}

extension LogEntryKind {
  /// Whether a replica may append entries of this kind; all others are the primary's own.
  fileprivate var isAppendable: Bool {
    switch self {
    case .transaction, .stage, .stagedTransaction: true
    case .drop, .rename, .noOperation: false
    }
  }
}

extension ByteBuffer {
  fileprivate mutating func writeGrant(_ tag: UInt8, _ id: GrantID) {
    writeInteger(tag)
    writeInteger(id.rawValue)
  }
}

extension WireReader {
  fileprivate mutating func grant() throws(ReplicationError) -> GrantID {
    GrantID(try integer())
  }

  fileprivate mutating func appendedKind() throws(ReplicationError) -> LogEntryKind {
    guard let kind = LogEntryKind(rawValue: try integer()), kind.isAppendable else {
      throw ReplicationError(.malformed, "A replica appends what is no transaction.")
    }
    return kind
  }

  /// All that is left: whether it is a transaction is for the store to check.
  fileprivate mutating func appended() throws(ReplicationError) -> [UInt8] {
    guard remaining > 0, remaining <= WireLimit.appended else {
      throw ReplicationError(
        .malformed,
        "A replica appends \(remaining) bytes: there must be some, and at most"
          + " \(WireLimit.appended)."
      )
    }
    return try bytes(remaining)
  }
}
