import LTX

// SQLite's rollback journal (sqlite.org/fileformat2.html, section 3).
//
// One or more segments, each a header padded to a sector and then records. Header, big-endian:
// magic d9d505f920a163d7, number of records (0xffffffff: as many as fit the file; 0: not yet known,
// the writer has not synced it), checksum nonce, pages of the database before the transaction, sector
// size, page size. Record: page number, the page as it was before, checksum (the nonce plus every
// 200th byte counted from the end). The journal is done with when it is removed, truncated to zero or when the
// first 28 bytes are zeroed.

/// A journal as found in a file. Reads what it needs; holds no page in memory.
struct RollbackJournal {
  static let magic: UInt64 = 0xd9d5_05f9_20a1_63d7
  static let headerBytes = 28
  /// SQLite's own limits for a sector.
  static let sectorRange = 32...65_536

  /// One record: where its page lies in the journal.
  struct Record {
    var page: PageNumber
    var offset: Int64
  }

  struct Header {
    var records: UInt32
    var nonce: UInt32
    var pages: UInt32
    var sector: Int
    var pageSize: PageSize

    /// - Parameter unsynced: also a header whose writer has not come to sync it, and so to write
    ///   magic and count.
    init?(_ raw: UnsafeRawBufferPointer, like first: Header? = nil, unsynced: Bool) {
      guard raw.count >= RollbackJournal.headerBytes else { return nil }
      let magic = raw.bigEndian(UInt64.self, at: 0)
      records = raw.bigEndian(UInt32.self, at: 8)
      nonce = raw.bigEndian(UInt32.self, at: 12)
      pages = raw.bigEndian(UInt32.self, at: 16)
      let isUnsynced = unsynced && magic == 0 && records == 0
      guard magic == RollbackJournal.magic || isUnsynced else { return nil }
      if let first {
        // Only the first header tells the sizes; later ones may carry anything there.
        guard magic != 0 || pages == first.pages else { return nil }
        sector = first.sector
        pageSize = first.pageSize
        return
      }
      sector = Int(raw.bigEndian(UInt32.self, at: 20))
      guard RollbackJournal.sectorRange.contains(sector), sector & (sector - 1) == 0,
        let size = PageSize(bytes: Int(raw.bigEndian(UInt32.self, at: 24)))
      else { return nil }
      pageSize = size
    }
  }

  let file: any DiskFile
  let size: Int64
  let header: Header
  /// More than one segment: SQLite ran out of cache and wrote pages before the commit.
  private(set) var spilled = false

  /// - Parameter unsynced: also a journal that was never synced. SQLite does not play it back after a
  ///   crash, since no page that it names was written; but pages that it does not name, leaves of
  ///   the freelist, may have been.
  /// - Returns: nil when the file does not begin with a valid header, so is not in use.
  init?(_ file: any DiskFile, unsynced: Bool = false) throws(StoreError) {
    self.file = file
    size = try file.information().size
    guard size >= Int64(Self.headerBytes) else { return nil }
    let raw = try file.readBytes(Self.headerBytes, at: 0)
    guard let header = raw.withUnsafeBytes({ Header($0, unsynced: unsynced) }) else { return nil }
    self.header = header
  }

  /// Whether it has one segment and nothing else, as far as its length tells.
  var isSingle: Bool {
    let content = size - Int64(header.sector)
    if header.records == 0 || header.records == .max { return content % recordBytes == 0 }
    return content == Int64(header.records) * recordBytes
  }

  private var recordBytes: Int64 { Int64(header.pageSize.bytes + 8) }

  /// Every record, in order; of pages named more than once the first is what was before.
  ///
  /// - Parameter hot: whether the records are to be played back, so that an unsynced last segment
  ///   and records with a wrong checksum end the list, as SQLite's recovery has it.
  mutating func records(hot: Bool) throws(StoreError) -> [Record] {
    var found: [Record] = []
    var offset: Int64 = 0
    var current: Header? = header
    while let head = current {
      let first = offset + Int64(header.sector)
      let fits = max(0, (size - first) / recordBytes)
      var count = Int64(head.records)
      // Zero: written without a sync so far. In a journal left by a crash such records may not be
      // on disk, and the pages they name were not written either.
      if head.records == 0 { count = hot ? 0 : fits }
      if head.records == .max { count = fits }
      count = min(count, fits)
      found.reserveCapacity(found.count + Int(min(count, 1 << 16)))
      for record in 0..<count {
        let at = first + record * recordBytes
        let number = try pageNumber(at: at)
        guard number > 0 else { return found }
        if hot, try !isIntact(at: at, head) { return found }
        found.append(Record(page: PageNumber(number), offset: at + 4))
      }
      guard head.records != 0, head.records != .max else { return found }
      let sector = Int64(header.sector)
      offset = (first + count * recordBytes + sector - 1) / sector * sector
      current = try nextHeader(at: offset, unsynced: !hot)
      if current != nil { spilled = true }
    }
    return found
  }

  private func nextHeader(at offset: Int64, unsynced: Bool) throws(StoreError) -> Header? {
    guard offset + Int64(Self.headerBytes) <= size else { return nil }
    let raw = try file.readBytes(Self.headerBytes, at: offset)
    return raw.withUnsafeBytes { Header($0, like: header, unsynced: unsynced) }
  }

  private func pageNumber(at offset: Int64) throws(StoreError) -> UInt32 {
    var word: UInt32 = 0
    var failure: StoreError?
    withUnsafeMutableBytes(of: &word) { buffer in
      do throws(StoreError) {
        if try file.read(into: buffer, at: offset) < 4 { buffer.storeBytes(of: 0, as: UInt32.self) }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return UInt32(bigEndian: word)
  }

  private func isIntact(at offset: Int64, _ head: Header) throws(StoreError) -> Bool {
    let raw = try file.readBytes(Int(recordBytes), at: offset)
    guard raw.count == Int(recordBytes) else { return false }
    var sum = head.nonce
    var at = header.pageSize.bytes - 200
    while at > 0 {
      sum = sum &+ UInt32(raw[4 + at])
      at -= 200
    }
    let stored = raw.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 4 + header.pageSize.bytes) }
    return sum == stored
  }

  /// The page of a record as it was before the transaction.
  func original(_ record: Record) throws(StoreError) -> [UInt8] {
    try file.readBytes(header.pageSize.bytes, at: record.offset)
  }
}
