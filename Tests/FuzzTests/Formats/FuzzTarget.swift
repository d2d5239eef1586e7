/// Something that decodes bytes from outside, ready to be attacked.
///
/// Whatever the bytes, `run` must come back soon, with an error or without, having taken no more
/// memory than its input explains. A trap, a hang and growth are defects.
package struct FuzzTarget: Sendable {
  package var name: String
  /// Bytes above which an input tells nothing that a shorter one does not.
  package var maxBytes: Int
  /// Valid encodings to start from: mutation alone would never guess a magic number.
  package var seeds: @Sendable () throws -> [[UInt8]]
  package var run: @Sendable ([UInt8]) throws -> Void

  package init(
    _ name: String,
    maxBytes: Int = 8192,
    seeds: @escaping @Sendable () throws -> [[UInt8]],
    run: @escaping @Sendable ([UInt8]) throws -> Void
  ) {
    self.name = name
    self.maxBytes = maxBytes
    self.seeds = seeds
    self.run = run
  }
}

/// An input was decoded into something that cannot be right.
package struct FuzzFinding: Error, CustomStringConvertible {
  package var description: String
  package init(_ description: String) { self.description = description }

  package static func check(
    _ condition: Bool,
    _ what: @autoclosure () -> String
  ) throws(FuzzFinding) {
    if !condition { throw FuzzFinding(what()) }
  }
}

/// The targets that need the rooms `LTX` and `Store` alone.
package enum FormatTargets {
  package static let all: [FuzzTarget] =
    [LTXTargets.file, LTXTargets.compaction]
    + [LogTargets.entry, LogTargets.directory]
    + [WALTargets.capture, WALTargets.index]
    + [DatabaseTargets.journal, DatabaseTargets.records, DatabaseTargets.adoption]
    + [DatabaseTargets.restart, DatabaseTargets.staging, CommitTargets.commits]
}
