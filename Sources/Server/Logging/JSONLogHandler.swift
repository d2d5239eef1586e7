package import Foundation
package import Logging

/// Writes log lines as JSON objects, one a line, to standard error.
package struct JSONLogHandler: LogHandler {
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?
  package var logLevel: Logger.Level = .info
  private let write: @Sendable (Data) -> Void

  private struct Line: Encodable {
    let time: String
    let level: String
    let message: String
    let fields: [String: String]

    private struct Key: CodingKey {
      let stringValue: String
      var intValue: Int? { nil }
      init(_ text: String) { stringValue = text }
      init?(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { return nil }
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(time, forKey: Key("time"))
      try container.encode(level, forKey: Key("level"))
      try container.encode(message, forKey: Key("message"))
      for (name, value) in fields where !["time", "level", "message"].contains(name) {
        try container.encode(value, forKey: Key(name))
      }
    }
  }

  package init(
    write: @escaping @Sendable (Data) -> Void = { line in
      // A closed standard error must not end the server.
      try? FileHandle.standardError.write(contentsOf: line)
    }
  ) {
    self.write = write
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var fields: [String: String] = [:]
    for (name, value) in metadata { fields[name] = "\(value)" }
    for (name, value) in metadataProvider?.get() ?? [:] { fields[name] = "\(value)" }
    for (name, value) in event.metadata ?? [:] { fields[name] = "\(value)" }
    if let error = event.error { fields["error"] = "\(error)" }
    let line = Line(
      time: Timestamp.json(at: Date().timeIntervalSince1970),
      level: event.level.rawValue,
      message: "\(event.message)",
      fields: fields
    )
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard var data = try? encoder.encode(line) else { return }
    data.append(UInt8(ascii: "\n"))
    write(data)
  }
}
