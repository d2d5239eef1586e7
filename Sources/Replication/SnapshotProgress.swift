/// How far a snapshot is, for people.
package struct SnapshotProgress: Hashable, Sendable {
  package var database: String
  package var donePages: UInt32
  /// Pages that differed when the snapshot began.
  package var totalPages: UInt32

  package init(database: String, donePages: UInt32, totalPages: UInt32) {
    self.database = database
    self.donePages = donePages
    self.totalPages = totalPages
  }
}
