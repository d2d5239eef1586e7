import Foundation

/// A file of `NAME=value` lines, as systemd reads it: `#` and `;` begin comments, quotes around a value go.
package enum EnvironmentFile {
  /// - Throws: `ConfigurationError` when it cannot be read or a line is not an assignment.
  package static func read(_ path: String) throws(ConfigurationError) -> [String: String] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationError(problems: ["the env file \(path) cannot be read"])
    }
    return try parse(String(decoding: data, as: UTF8.self), path)
  }

  static func parse(_ text: String, _ path: String) throws(ConfigurationError) -> [String: String] {
    var values: [String: String] = [:]
    var problems: [String] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      let line = line.trimmingCharacters(in: .whitespaces)
      guard !line.isEmpty, !line.hasPrefix("#"), !line.hasPrefix(";") else { continue }
      guard let equals = line.firstIndex(of: "="), equals != line.startIndex else {
        problems.append("\(path):\(index + 1) is not NAME=value")
        continue
      }
      let name = line[..<equals].trimmingCharacters(in: .whitespaces)
      values[name] = unquoted(
        line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
      )
      if name.hasPrefix("NEBULAGC_"), !ServerSettings.names.contains(name) {
        problems.append("\(path):\(index + 1) sets \(name), which is no setting of this server")
      }
    }
    guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
    return values
  }

  private static func unquoted(_ value: String) -> String {
    for quote in ["\"", "'"]
    where value.count >= 2 && value.hasPrefix(quote) && value.hasSuffix(quote) {
      return String(value.dropFirst().dropLast())
    }
    return value
  }
}
