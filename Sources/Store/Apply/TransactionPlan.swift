import LTX

/// A transaction of the log that has been read once and found to follow from a database's state.
///
/// Everything that can be wrong with it is found here, before any lock is taken or any file touched.
struct TransactionPlan {
  let entry: LogEntry
  let header: LTXHeader
  let changes: [PageChange]
  let position: Position
  /// The page size differs from the database's: every page is in the transaction.
  let isRebuilt: Bool
  /// Whether the database is to have a write-ahead log, where the transaction says so: where it has page 1.
  let saysWAL: Bool?

  /// - Throws: `.diverged` when the transaction does not follow, `.corrupt` when it is damaged.
  init(_ entry: LogEntry, log: Log, state: DatabaseState) throws(StoreError) {
    self.entry = entry
    let name = entry.database
    var decoder = try Self.decoder(entry, log: log)
    let header = decoder.header
    self.header = header
    guard state.position.txid.next == header.minTXID,
      header.isSnapshot || header.preApply == state.position.checksum
    else {
      throw StoreError(
        .diverged,
        "transaction \(header.minTXID) of database \(name) does not follow from "
          + "\(state.position) here"
      )
    }
    let rebuilt = state.pageSize != header.pageSize
    isRebuilt = rebuilt
    var total = Checksum.empty
    if !rebuilt, let checksums = state.checksums {
      total = checksums.total
      if Int(header.commit) < checksums.count {
        for page in (header.commit + 1)...UInt32(checksums.count) {
          if let gone = checksums[PageNumber(page)] { total = total.toggling(gone) }
        }
      }
    }
    var changes: [PageChange] = []
    var version: UInt8?
    try Self.forEach(&decoder, name) { (digest, bytes) throws(StoreError) in
      if digest.number == PageNumber(1) {
        version = DatabaseHeader(bytes)?.readVersion
      }
      if !rebuilt, let old = state.checksums?[digest.number] {
        total = total.toggling(old)
      }
      total = total.toggling(digest.checksum)
      changes.append(PageChange(page: digest.number, checksum: digest.checksum))
    }
    self.changes = changes
    saysWAL = version.map { $0 == 2 }
    guard let trailer = decoder.trailer, trailer.postApply == total else {
      throw StoreError(
        .diverged,
        "transaction \(header.maxTXID) leaves database \(name) with another checksum here than on "
          + "the primary"
      )
    }
    let old = rebuilt ? 0 : state.checksums?.count ?? 0
    // Whoever recorded it put every new page in; only that of the lock bytes is never stored.
    guard Int(header.commit) <= old + changes.count + 1 else {
      throw StoreError(
        .corrupt,
        "transaction \(header.maxTXID) makes \(header.commit) pages of database \(name) out of "
          + "\(old) with \(changes.count)"
      )
    }
    position = Position(txid: header.maxTXID, checksum: total)
  }

  /// Calls `body` with every page of the transaction, in order.
  func forEachPage(
    log: Log,
    _ body: (PageDigest, UnsafeRawBufferPointer) throws(StoreError) -> Void
  ) throws(StoreError) {
    var decoder = try Self.decoder(entry, log: log)
    try Self.forEach(&decoder, entry.database, body)
  }

  /// Brings the table and the position to the transaction.
  func finish(_ state: inout DatabaseState) {
    if isRebuilt || state.checksums == nil {
      state.checksums = PageChecksums(pageSize: header.pageSize)
    }
    state.checksums?.resize(to: Int(header.commit))
    for change in changes { state.checksums?.set(change.page, change.checksum) }
    state.pageSize = header.pageSize
    state.position = position
    state.entry = entry.id.index
  }

  static func decoder(
    _ entry: LogEntry,
    log: Log
  ) throws(StoreError) -> LTXDecoder<TransactionPayload> {
    let payload = try TransactionPayload(entry, log: log)
    do throws(LTXError) {
      return try LTXDecoder(payload, encoding: .v3)
    } catch {
      throw StoreError(
        .corrupt,
        "entry \(entry.id) holds no valid transaction of database \(entry.database)",
        cause: error
      )
    }
  }

  static func forEach(
    _ decoder: inout LTXDecoder<TransactionPayload>,
    _ name: String,
    _ body: (PageDigest, UnsafeRawBufferPointer) throws(StoreError) -> Void
  ) throws(StoreError) {
    var page = [UInt8](repeating: 0, count: decoder.header.pageSize.bytes)
    while true {
      var number: PageNumber?
      try LTXError.asStoreError(name) { () throws(LTXError) in
        var failure: LTXError?
        page.withUnsafeMutableBytes { raw in
          do throws(LTXError) { number = try decoder.next(into: raw) } catch { failure = error }
        }
        if let failure { throw failure }
      }
      guard number != nil, let digest = decoder.digest else { return }
      var failure: StoreError?
      page.withUnsafeBytes { raw in
        do throws(StoreError) { try body(digest, raw) } catch { failure = error }
      }
      if let failure { throw failure }
    }
  }
}
