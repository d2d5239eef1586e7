// Writes from any node. One node at a time may write a database: the primary, or a replica to which it has given a
// grant. The replica's transactions travel to the primary, which appends them to the log; whatever is in the log
// has happened, and nothing else.
//
// A grant lives as long as the connection over which it was given, so that no transaction can come to the log under
// a grant that the other side believes to be over.

/// Names a request for a grant on its connection. Chosen by the replica, and never used again there.
package struct GrantID: Hashable, Sendable {
  package var rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// What a replica that writes says to the primary.
package enum GrantRequest: Hashable, Sendable {
  /// It wants to write a database. Answered with `.given` or `.ended`, which may take long.
  case ask(GrantID, database: String)
  /// It does not write the database any more, or does not want to. Not answered.
  case giveBack(GrantID)
  /// Append a transaction, or a part of one, to the log. One at a time; answered with `.appended` or `.refused`.
  /// The payload is at most `LogFormat.stageAbove` and a few bytes long.
  case append(GrantID, LogEntryKind, payload: [UInt8])
  /// Answered with `.readIndex`.
  case readIndex(GrantID)
}

/// What the primary says to a replica that writes.
package enum GrantAnswer: Hashable, Sendable {
  /// The database is the replica's to write, once it has applied everything up to the entry.
  case given(GrantID, through: LogIndex)
  /// Somebody else wants to write: to be given back when the transaction under way is over.
  case recalled(GrantID)
  /// There is no grant, or not any more: nothing is appended under it.
  case ended(GrantID, reason: String)
  case appended(GrantID, LogIndex)
  /// Nothing was appended.
  case refused(GrantID, reason: String)
  /// Whoever has applied everything up to this entry sees all that was committed when it was asked for; zero where
  /// that is not known.
  case readIndex(GrantID, LogIndex)
}

/// The primary's end of one connection, as far as grants go. Ends with `end`.
package protocol GrantLender: AnyObject, Sendable {
  /// Must not block; answers may come on any thread, also before it returns.
  func receive(_ request: GrantRequest)
  /// The connection is gone, and with it its grants. Must not block.
  func end()
}
