import LTX
import Synchronization

// Which database an entry of the log is about. An entry carries the name of its time, a record in
// `state/` that of its own; between the two a database can have been renamed or dropped, and another
// made under the old name. So a name is told apart by the entry that took it away.

/// An entry that took a name from a database.
struct NameChange {
  var index: LogIndex
  var name: String
  /// Nil for a drop.
  var target: String?
}

/// A name while one database had it.
struct NameSpan: Hashable {
  var name: String
  /// The drop or rename that ended it; `.max` while none did.
  var until: LogIndex
}

extension Recovery {
  /// Reads drops and renames from the log, and finds out which names the databases had before.
  mutating func findNames(_ after: LogIndex, _ last: LogIndex) throws(StoreError) {
    var found: [NameChange] = []
    if after < last {
      try context.log.forEach(after: after, through: last) { (entry) throws(StoreError) in
        guard entry.kind == .drop || entry.kind == .rename else { return }
        let target = entry.kind == .rename ? String(decoding: entry.payload, as: UTF8.self) : nil
        found.append(NameChange(index: entry.id.index, name: entry.database, target: target))
      }
    }
    changes = Dictionary(grouping: found, by: \.name)
    for database in databases.values { try findFile(of: database, found) }
    for database in databases.values { findSpans(of: database, found) }
  }

  /// The span of a name in which an entry lies.
  func span(of name: String, at index: LogIndex) -> NameSpan {
    NameSpan(
      name: name,
      until: changes[name]?.first { $0.index > index }?.index ?? .max
    )
  }

  /// What the database of a span is called in the end; nil when it was dropped.
  func finalName(_ span: NameSpan) -> String? {
    var span = span
    while span.until < .max {
      let change = changes[span.name]?.first { $0.index == span.until }
      guard let target = change?.target else { return nil }
      span = self.span(of: target, at: span.until)
    }
    return span.name
  }

  /// A rename notes the new name in the record before it moves the file; a crash can come between
  /// any two of its steps.
  private mutating func findFile(
    of database: Database,
    _ changes: [NameChange]
  ) throws(StoreError) {
    let (pages, entry) = database.state.withLock { ($0.pages, $0.entry) }
    guard pages > 0, try context.disk.information(database.path()) == nil else { return }
    let arrival = changes.last { $0.target == database.name && $0.index <= entry }
    if let arrival, try context.disk.information(context.tree + "/" + arrival.name) != nil,
      !databases.values.contains(where: { $0.name == arrival.name })
    {
      try context.disk.rename(context.tree + "/" + arrival.name, to: database.path())
      return
    }
    missing.insert(database.key)
  }

  /// Notes all spans of a database, from the name in its record backwards.
  private mutating func findSpans(of database: Database, _ changes: [NameChange]) {
    var name = database.name
    var at = database.state.withLock { $0.entry }
    while true {
      holders[span(of: name, at: at)] = database
      guard let arrival = changes.last(where: { $0.target == name && $0.index <= at }) else {
        return
      }
      name = arrival.name
      at = LogIndex(arrival.index.rawValue - 1)
    }
  }
}
