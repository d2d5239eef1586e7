import LTX
import Logging

// The log comes before the files, so a disk that is full, or fails, can leave a transaction in the log that
// the files did not get. SQLite sees the error and rolls back. With a rollback journal nothing else is
// needed: the end of the rollback is captured as any other transaction, and brings back what was
// before. With a write-ahead log SQLite drops the frames and ends there; so the pages of what was
// given up are remembered, and the next transaction records them too, as they are then.

extension Database {
  /// Takes a write to the write-ahead log for not made, although it completed transactions that are in
  /// the log.
  ///
  func giveUp(at offset: Int64, backTo mark: WALCapture.Mark, in state: inout DatabaseState) {
    state.wal.giveUp(at: offset, backTo: mark)
    let end = state.wal.captured
    state.unkept.formUnion(state.walPages.filter { $0.value >= end }.keys)
    do throws(StoreError) {
      state.walPages = try placesInLog(state)
      context.logger.warning(
        "a transaction was rolled back that the log already had; the next one makes up for it",
        metadata: ["database": "\(name)"]
      )
    } catch {
      state.failed = Database.lateFailure(name, error)
    }
    publish(state)
  }

  /// Where the newest captured frame of each page begins, read from the write-ahead log itself.
  func placesInLog(_ state: DatabaseState) throws(StoreError) -> [UInt32: Int64] {
    guard let wal = state.wal.header, let file = state.walFile, state.wal.frames > 0 else {
      return [:]
    }
    guard let pages = try pageNumbers(1...state.wal.frames, wal, file) else {
      throw StoreError(.corrupt, "the write-ahead log of database \(name) ends too early")
    }
    return wal.places(of: pages)
  }

  /// Adds the pages that were given up and are not among those of a transaction.
  func addUnkept(upTo pages: UInt32, _ state: DatabaseState, to places: inout [PagePlace]) {
    let present = Set(places.map(\.page.rawValue))
    for page in state.unkept where page <= pages && !present.contains(page) {
      places.append(PagePlace(page: PageNumber(page), offset: state.walPages[page]))
    }
    places.sort { $0.page < $1.page }
  }

  /// Records what was given up as it is, where no transaction has done so.
  ///
  /// The caller has the WAL's WRITE lock.
  ///
  /// - Returns: the entry that did so, or nil when there was nothing to record.
  func recordUnkept(in state: inout DatabaseState) throws(StoreError) -> LogIndex? {
    guard !state.unkept.isEmpty, let size = state.pageSize else { return nil }
    let main = try mainFile(&state)
    let pages = try pagesInFiles(main, state)
    var places: [PagePlace] = []
    addUnkept(upTo: pages, state, to: &places)
    let details = TransactionRecorder.Details(pageSize: size, pages: pages, wal: nil)
    let entry = try recordFromFiles(details, places, in: &state)
    state.unkept.removeAll()
    publish(state)
    return entry
  }

  /// Records pages as the write-ahead log, where they have a place there, or the main file has them.
  func recordFromFiles(
    _ details: TransactionRecorder.Details,
    _ places: [PagePlace],
    in state: inout DatabaseState
  ) throws(StoreError) -> LogIndex? {
    let main = try mainFile(&state)
    let log = state.walFile
    let size = details.pageSize
    var page = state.scratch.takeFrame()
    defer { state.scratch.frame = page }
    return try recorder.record(details, places, in: &state) { place, use throws(StoreError) in
      try page.withPage(size) { buffer throws(StoreError) in
        if let at = place.offset, let log {
          try log.readWhole(buffer, at: at)
        } else {
          try main.readPadded(buffer, at: place.page.offset(size))
        }
        try use(UnsafeRawBufferPointer(buffer))
      }
    }
  }

  /// Pages of the database as its files have it: the last captured frame says, or the main file.
  private func pagesInFiles(
    _ main: any DiskFile,
    _ state: DatabaseState
  ) throws(StoreError) -> UInt32 {
    if let wal = state.wal.header, let file = state.walFile, state.wal.frames > 0 {
      let bytes = try file.readBytes(4, at: wal.offset(ofFrame: state.wal.frames) + 4)
      if bytes.count == 4 { return bytes.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 0) } }
    }
    guard let header = try DatabaseHeader.read(main) else { return 0 }
    return try DatabaseHeader.pages(of: main, header)
  }
}
