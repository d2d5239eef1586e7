/// One thing that is wrong, or worth knowing, about a configuration; prints as a single line.
package struct ConfigurationProblem: Sendable, Hashable {
  package enum Severity: String, Sendable {
    /// The node does not start.
    case error
    /// The node starts; a key does not do what its author may expect.
    case warning
  }

  package let severity: Severity
  /// The file's path, or what stands for it ("command line").
  package let file: String
  /// The line in the file, from 1; nil when the problem is not at one place.
  package let line: Int?
  /// What is wrong and what to do about it.
  package let message: String
}

extension ConfigurationProblem: CustomStringConvertible {
  package var description: String {
    let place = line.map { "\(file):\($0)" } ?? file
    return "\(place): \(severity.rawValue): \(message)"
  }
}

/// A configuration that cannot be used, with everything that is wrong with it.
package struct ConfigurationError: Error, Sendable, CustomStringConvertible {
  /// Errors and warnings in the order of their lines; at least one is an error.
  package let problems: [ConfigurationProblem]

  package var description: String {
    problems.map(\.description).joined(separator: "\n")
  }
}
