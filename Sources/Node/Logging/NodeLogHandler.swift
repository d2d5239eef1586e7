import Foundation
package import Logging

/// Writes log lines in the configured format to standard error.
package struct NodeLogHandler: LogHandler {
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?
  package var logLevel: Logger.Level

  private let label: String
  private let format: LogConfiguration.Format
  private let write: @Sendable (String) -> Void
  private let now: @Sendable () -> Int64

  /// - Parameters:
  ///   - write: takes one whole line; called from any thread.
  ///   - now: milliseconds since the epoch.
  package init(
    label: String,
    configuration: LogConfiguration,
    write: @escaping @Sendable (String) -> Void = NodeLogHandler.standardError,
    now: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1000) }
  ) {
    self.label = label
    format = configuration.format
    logLevel = Logger.Level(rawValue: configuration.level.rawValue) ?? .info
    self.write = write
    self.now = now
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var all = metadata
    if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
    if let given = event.metadata { all.merge(given) { $1 } }
    if let error = event.error { all["error"] = "\(error)" }
    let time = Timestamps.text(milliseconds: now())
    let message = "\(event.message)"
    switch format {
    case .text:
      write(LogFormatting.text(time: time, level: event.level, message: message, metadata: all))
    case .json:
      write(
        LogFormatting.json(
          time: time,
          level: event.level,
          label: label,
          message: message,
          metadata: all
        )
      )
    }
  }

  /// One write a line, so that lines of several threads do not mix; a closed standard error must
  /// not end the node.
  package static let standardError: @Sendable (String) -> Void = { line in
    try? FileHandle.standardError.write(contentsOf: Data(line.utf8))
  }
}

extension LogConfiguration {
  /// A logger of this configuration, for what does not go through `LoggingSystem`.
  package func logger(_ label: String) -> Logger {
    Logger(label: label) { NodeLogHandler(label: $0, configuration: self) }
  }

  /// Makes every logger of the process one of this configuration. To be called once, by the
  /// command.
  package func bootstrap() {
    LoggingSystem.bootstrap { NodeLogHandler(label: $0, configuration: self) }
  }
}
