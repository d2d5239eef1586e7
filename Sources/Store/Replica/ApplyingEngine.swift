/// For whom a `DatabaseApplier` works.
protocol ApplyingEngine: AnyObject, Sendable {
  var store: Store { get }
  /// Where a database's next entry to be applied lies, or nil when it has none.
  func setWaiting(_ name: String, _ index: LogIndex?)
  func tellProgress()
  /// Lets every queue look again at what it waits for.
  func wakeAll()
  /// Whether nothing is to be applied to a database at the moment.
  func holdsBack(_ name: String) -> Bool
  /// Lets readers of a database in that had to wait for a decision.
  func releaseIfDecided(_ name: String)
  /// Whether nothing before this entry waits in a database's queue.
  func has(_ name: String, reached index: LogIndex) -> Bool
  func applier(_ name: String) -> DatabaseApplier
  /// The database is about to be locked exclusively; clients that read it, and wait to write, are in the way.
  func dismissWriters(of name: String)
  /// Whether what failed is to be tried again, as there is nobody to fetch anything from.
  func retries(_ error: StoreError) -> Bool
  /// What could not be applied is to be fetched.
  func markForRepair(_ names: Set<String>) throws(StoreError)
}
