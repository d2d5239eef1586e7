import LTX
import Synchronization

// After a write that could not be taken back, or a sync that failed, nothing is appended: what the file
// has on the disk is unknown, and the kernel will not say. What it should have is known: each entry
// carries its checksum. So the segment is written anew from what can still be read of it, and the log goes on
// in the new file once that is durable.

extension Log {
  /// Whether nothing is appended until `mend` succeeds.
  package var needsMending: Bool { state.withLock { $0.failed != nil } }

  /// Makes the log usable again after a failed write or sync. Blocks.
  ///
  /// A crash before the new file has its name leaves the old one, which opening cuts at its first
  /// bad entry; after that the new one, which is whole.
  ///
  /// - Throws: when the disk still refuses, or when entries can no longer be read (`.corrupt`): then
  ///   only a restart can tell what is left. Nothing has changed in either case.
  package func mend() throws(StoreError) {
    // Nothing is appended meanwhile, so that the segment stays as it is without the lock.
    guard
      let (segment, last) = state.withLock({ state -> (Segment, LogIndex)? in
        guard state.failed != nil, let segment = state.segments.last else { return nil }
        return (segment, state.last.index)
      })
    else { return }
    let temporary = segment.path + Segment.temporarySuffix
    let file = try disk.open(temporary, [.write, .create, .truncate])
    try copy(segment, to: file)
    try file.sync()
    try disk.rename(temporary, to: segment.path)
    try disk.syncDirectory(directory)
    state.withLock { state in
      state.segments[state.segments.count - 1].file = file
      state.segments[state.segments.count - 1].room = 0
      state.failed = nil
    }
    syncer.mended(through: last)
  }

  /// Copies header and entries of a segment, each of which must be intact.
  private func copy(_ segment: Segment, to file: any DiskFile) throws(StoreError) {
    let head = try segment.file.readBytes(SegmentHeader.maxBytes, at: 0)
    guard let (_, length) = SegmentHeader.decode(head) else { throw unreadable(segment) }
    try file.writeAll(Array(head[..<length]), at: 0)
    var offset = Int64(length)
    while offset < segment.end {
      let room = min(Int64(LogFormat.maxEntryBytes), segment.end - offset)
      let bytes = try segment.file.readBytes(Int(room), at: offset)
      var whole = 0
      while let (_, length) = LogEntry.decode(bytes[whole...]) { whole += length }
      guard whole > 0 else { throw unreadable(segment) }
      try file.writeAll(Array(bytes[..<whole]), at: offset)
      offset += Int64(whole)
    }
  }

  private func unreadable(_ segment: Segment) -> StoreError {
    StoreError(
      .corrupt,
      "log segment \(segment.path) can no longer be read as it was written; restart the node, which "
        + "goes on from what is left of it"
    )
  }
}
