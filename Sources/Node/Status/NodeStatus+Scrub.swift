extension NodeStatus {
  /// Damaged pages named for each database; beyond that only their number is told.
  static let maximumPages = 100

  /// The comparison of all pages with their checksums, which goes on in the background.
  package struct Scrub: Codable, Sendable, Equatable {
    /// The database that is being read; absent between two passes.
    package var database: String?
    /// Pages of it that have been read, and that it has.
    package var page: UInt32
    package var pages: UInt32
    /// Since the start of the node.
    package var scrubbedPages: UInt64
    package var scrubbedBytes: UInt64
    /// Pages found damaged since the start, also those that were mended since.
    package var damagedPages: UInt64
    /// Complete passes since the start.
    package var passes: UInt64
    /// The end of the last of them, in milliseconds since the epoch.
    package var lastPass: UInt64?

    enum CodingKeys: String, CodingKey {
      case database, page, pages, passes
      case scrubbedPages = "scrubbed_pages"
      case scrubbedBytes = "scrubbed_bytes"
      case damagedPages = "damaged_pages"
      case lastPass = "last_pass_ms"
    }
  }
}
