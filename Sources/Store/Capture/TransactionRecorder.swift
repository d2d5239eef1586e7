import LTX

/// Turns pages that may have changed into one transaction of the log.
///
/// The caller holds the database's state for the whole of it, which is what keeps the positions
/// of a database in the order of its entries. Pages are not compressed here, where a commit waits, but
/// when the entry is packed (`LogPacker`). Those of a large transaction are: to write and send them as they are
/// would take longer.
struct TransactionRecorder {
  /// What a transaction consists of besides its pages.
  struct Details {
    var pageSize: PageSize
    /// Pages of the database after it.
    var pages: UInt32
    /// The write-ahead log it was read from.
    var wal: WALCapture.Transaction?
  }

  /// Hands the content of a page, whole, to a closure that looks at it and keeps nothing.
  typealias PageReader = (
    PagePlace, (UnsafeRawBufferPointer) throws(StoreError) -> Void
  ) throws(StoreError) -> Void

  let sink: any TransactionSink
  let node: UInt64
  let milliseconds: UInt64
  let name: String

  /// Records a transaction and brings the state to it.
  ///
  /// - Parameter places: pages that may have changed, ascending, without repeats, none above
  ///   `details.pages`, and all of those that are new.
  /// - Returns: the entry that commits it, or nil when nothing differs from before or
  ///   the log has the database's drop.
  func record(
    _ details: Details,
    _ places: [PagePlace],
    in state: inout DatabaseState,
    read: PageReader
  ) throws(StoreError) -> LogIndex? {
    guard !state.dropped else { return nil }
    guard let txid = state.position.txid.next else {
      throw StoreError(.invalid, "database \(name) has used up all transaction numbers")
    }
    let isRebuilt = state.pageSize != details.pageSize
    let old = isRebuilt ? 0 : state.pages
    let mayBeLarge = places.count * details.pageSize.bytes > LogFormat.stageAbove
    var encoder = try encoder(details, txid, mayBeLarge ? .fast : .none, &state)
    // In place, not copied: nothing is changed in the state before the entry is in the log.
    var changes = state.scratch.changes
    state.scratch.changes = []
    changes.removeAll(keepingCapacity: true)
    defer {
      state.scratch.changes = changes
      state.scratch.encoder = encoder
    }
    var total = removed(details.pages, isRebuilt, state)
    var staging = Staging(sink: sink, name: name)
    let lockPage = details.pageSize.lockPage
    for place in places where place.page != lockPage {
      try read(place) { bytes throws(StoreError) in
        let digest = PageDigest(place.page, bytes)
        let before = isRebuilt ? nil : state.checksums?[place.page]
        guard before != digest.checksum else { return }
        if let before { total = total.toggling(before) }
        total = total.toggling(digest.checksum)
        changes.append(PageChange(page: place.page, checksum: digest.checksum))
        try LTXError.asStoreError(name) { () throws(LTXError) in
          try encoder.append(digest, bytes)
        }
      }
      if encoder.output.count > LogFormat.stageAbove { try staging.add(encoder.takeOutput()) }
    }
    if changes.isEmpty, details.pages == old, !isRebuilt { return nil }
    try LTXError.asStoreError(name) { () throws(LTXError) in
      try encoder.finish(postApply: details.pages == 0 ? .empty : total)
    }
    let entry = try staging.commit(encoder.output)
    if isRebuilt { state.checksums = PageChecksums(pageSize: details.pageSize) }
    state.checksums?.resize(to: Int(details.pages))
    for change in changes { state.checksums?.set(change.page, change.checksum) }
    state.pageSize = details.pageSize
    state.position = Position(txid: txid, checksum: state.checksums?.total ?? .empty)
    state.entry = entry
    state.isRefused = false
    return entry
  }

  /// The checksum of the database without the pages a transaction cuts off.
  private func removed(_ pages: UInt32, _ isRebuilt: Bool, _ state: DatabaseState) -> Checksum {
    guard !isRebuilt, let checksums = state.checksums else { return .empty }
    var total = checksums.total
    guard pages < checksums.count else { return total }
    for page in (pages + 1)...UInt32(checksums.count) {
      if let gone = checksums[PageNumber(page)] { total = total.toggling(gone) }
    }
    return total
  }

  private func encoder(
    _ details: Details,
    _ txid: TXID,
    _ compression: LTXCompression,
    _ state: inout DatabaseState
  ) throws(StoreError) -> LTXEncoder {
    let wal = details.wal
    var header = LTXHeader(
      pageSize: details.pageSize,
      commit: details.pages,
      minTXID: txid,
      maxTXID: txid,
      timestamp: Int64(clamping: milliseconds),
      preApply: txid.rawValue > 1 ? state.position.checksum : .none,
      nodeID: node
    )
    if let wal {
      header.walOffset = wal.offset
      header.walSize = wal.end - wal.offset
      header.walSalt1 = wal.header.salt1
      header.walSalt2 = wal.header.salt2
    }
    var result: LTXEncoder?
    try LTXError.asStoreError(name) { () throws(LTXError) in
      if var kept = state.scratch.encoder {
        state.scratch.encoder = nil
        try kept.reset(header: header, compression: compression)
        result = kept
      } else {
        result = try LTXEncoder(header: header, compression: compression)
      }
    }
    guard let result else { throw StoreError(.invalid, "no encoder for database \(name)") }
    return result
  }
}

/// Puts a transaction into the log: as one entry, or, when it is large, in parts that let the
/// commits of other databases through.
private struct Staging {
  let sink: any TransactionSink
  let name: String
  private var first = LogIndex.zero
  private var bytes: UInt64 = 0

  init(sink: any TransactionSink, name: String) {
    self.sink = sink
    self.name = name
  }

  mutating func add(_ output: [UInt8]) throws(StoreError) {
    var start = 0
    while start < output.count {
      let end = min(start + LogFormat.stageBytes, output.count)
      var payload: [UInt8] = []
      payload.reserveCapacity(end - start + 8)
      payload.appendBigEndian(first.rawValue)
      payload.append(contentsOf: output[start..<end])
      let index = try sink.append(.stage, database: name, bytes: payload)
      if first == .zero { first = index }
      bytes += UInt64(end - start)
      start = end
    }
  }

  mutating func commit(_ rest: [UInt8]) throws(StoreError) -> LogIndex {
    guard first != .zero || rest.count > LogFormat.stageAbove else {
      return try sink.append(.transaction, database: name, bytes: rest)
    }
    try add(rest)
    var payload: [UInt8] = []
    payload.appendBigEndian(first.rawValue)
    payload.appendBigEndian(bytes)
    return try sink.append(.stagedTransaction, database: name, bytes: payload)
  }
}

/// Where transactions go: the log, or the primary's.
protocol TransactionSink: Sendable {
  /// - Returns: the entry, which this node's log has.
  /// - Throws: when it is not in the log.
  func append(_ kind: LogEntryKind, database: String, bytes: [UInt8]) throws(StoreError) -> LogIndex
}

extension Log: TransactionSink {
  /// Appends an entry whose payload is an array.
  package func append(
    _ kind: LogEntryKind,
    database: String,
    bytes: [UInt8]
  ) throws(StoreError) -> LogIndex {
    var result: Result<LogIndex, StoreError> = .success(.zero)
    bytes.withUnsafeBytes { raw in
      do throws(StoreError) {
        result = .success(try append(kind, database: database, payload: raw))
      } catch { result = .failure(error) }
    }
    return try result.get()
  }
}

extension LTXError {
  /// Performs an operation of the format; an error says which database it was about.
  static func asStoreError(
    _ database: String,
    _ body: () throws(LTXError) -> Void
  ) throws(StoreError) {
    do throws(LTXError) {
      try body()
    } catch {
      throw StoreError(.corrupt, "a transaction of database \(database) is not valid", cause: error)
    }
  }
}
