/// One thing `halite doctor` looked at.
package struct DoctorFinding: Sendable, Equatable, Encodable {
  package enum Level: String, Sendable, Encodable {
    case ok
    /// It works, but not as well as it could, or may stop working.
    case warn
    /// The node cannot run as configured.
    case fail
  }

  package var subject: String
  package var level: Level
  package var value: String
  /// How to mend it; nil when there is nothing to mend.
  package var remedy: String?

  package init(_ subject: String, _ level: Level, _ value: String, remedy: String? = nil) {
    self.subject = subject
    self.level = level
    self.value = value
    self.remedy = remedy
  }
}
