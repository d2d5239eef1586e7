/// One thing that an examination of a stopped node's files came to.
package struct VerificationFinding: Sendable, Equatable {
  package enum Level: Sendable {
    case sound
    /// The next start mends it, or it does no harm.
    case notable
    case damaged
  }

  /// `log`, `state`, or `database NAME`.
  package var subject: String
  package var level: Level
  package var value: String
  package var remedy: String?

  init(_ subject: String, _ level: Level, _ value: String, remedy: String? = nil) {
    self.subject = subject
    self.level = level
    self.value = value
    self.remedy = remedy
  }

  /// How a node comes to sound files again.
  enum Remedy {
    static let fetch =
      "on a replica, remove the data directory and let the node fetch everything from the primary; "
      + "on the primary, export the databases with `halite export` first, on a replica if need be"
    static let page =
      "on a replica, start the node: the scrub fetches the page from the primary; on the primary, "
      + "export the database on a replica and import it with `halite import`"
  }
}
