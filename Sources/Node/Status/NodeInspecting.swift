/// What HTTP and the commands may ask of a running node.
///
/// `status` and `readiness` take a snapshot; they neither block nor touch the disk.
package protocol NodeInspecting: AnyObject, Sendable {
  func status() -> NodeStatus
  func readiness() -> Readiness
  var events: EventHub { get }
}

/// Whether a load balancer should send traffic here.
package enum Readiness: Sendable, Equatable {
  case ready
  /// With the reason, in words for an operator.
  case notReady(String)
}

/// What the control socket may do with a running node.
package protocol NodeControlling: NodeInspecting {
  /// Begins to read a database as one consistent state. May block.
  func openExport(of database: String) throws -> any DatabaseExport
  /// Begins to replace, or create, a database. May block.
  func openImport(of database: String) throws -> any DatabaseImport
  /// Makes this node the primary; returns once it is, with a sentence for the operator.
  func promote() async throws -> String
  /// Lets another node be the primary, of that name if one is given; returns once this one is not.
  func demote(to successor: String?) async throws -> String
}

/// A database on its way out. All methods may block; they are called one at a time.
package protocol DatabaseExport: AnyObject, Sendable {
  /// Bytes.
  var size: Int64 { get }
  /// The next bytes, at most so many; nil after the last.
  func next(maxBytes: Int) throws -> [UInt8]?
  /// Called once, also after an error.
  func close()
}

/// A database on its way in. All methods may block; they are called one at a time.
package protocol DatabaseImport: AnyObject, Sendable {
  func write(_ bytes: [UInt8]) throws
  /// Checks the whole and makes it the database; the new position as text.
  func finish() throws -> String
  /// Forgets what was written; called once instead of, or after a failed, `finish`.
  func cancel()
}
