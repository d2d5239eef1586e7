import LTX

/// A main file as it was when it last agreed with the log.
///
/// Times alone do not tell: many kernels' clocks for them stand still for some milliseconds, in which
/// `journal_mode=MEMORY` can commit several times. But whoever takes the EXCLUSIVE lock anew and
/// writes counts up the change counter (sqlite.org/fileformat2.html, section 1.3.6).
struct KnownFile: Equatable, Sendable {
  var information: DiskFileInformation
  /// The bytes of the counter; fewer where the file is too short.
  var counter: [UInt8]
}

extension DiskFile {
  /// What to compare with later.
  func known() throws(StoreError) -> KnownFile {
    KnownFile(information: try information(), counter: try readBytes(4, at: 24))
  }
}
