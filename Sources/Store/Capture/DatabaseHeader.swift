import LTX

/// What the store reads from the first 100 bytes of a database
/// (sqlite.org/fileformat2.html, section 1.3).
struct DatabaseHeader: Equatable, Sendable {
  static let bytes = 100
  static let magic: [UInt8] = Array("SQLite format 3".utf8) + [0]

  var pageSize: PageSize
  /// 2 where the database is read and written through a write-ahead log, else 1.
  var readVersion: UInt8
  var changeCounter: UInt32
  /// Pages, as the last writer that knew this field left it; zero where it is not to be trusted.
  var pages: UInt32

  /// - Returns: nil when the bytes are too few or do not say that this is a database.
  init?(_ raw: UnsafeRawBufferPointer) {
    guard raw.count >= Self.bytes, raw.prefix(16).elementsEqual(Self.magic) else { return nil }
    let size = Int(raw.bigEndian(UInt16.self, at: 16))
    guard let pageSize = PageSize(bytes: size == 1 ? 65_536 : size) else { return nil }
    self.pageSize = pageSize
    readVersion = raw[19]
    changeCounter = raw.bigEndian(UInt32.self, at: 24)
    // A writer older than 3.7.0 changes the counter and leaves the size alone.
    let validFor = raw.bigEndian(UInt32.self, at: 92)
    pages = validFor == changeCounter ? raw.bigEndian(UInt32.self, at: 28) : 0
  }

  /// The header of a file, or nil where it holds no database.
  static func read(_ file: any DiskFile) throws(StoreError) -> DatabaseHeader? {
    let raw = try file.readBytes(bytes, at: 0)
    return raw.withUnsafeBytes { DatabaseHeader($0) }
  }

  /// Pages of a file: by its header where that is to be trusted, but never more than the file has,
  /// for a header may claim anything. (To SQLite such a file is corrupt.)
  static func pages(of file: any DiskFile, _ header: DatabaseHeader) throws(StoreError) -> UInt32 {
    let size = try file.information().size
    let bytes = Int64(header.pageSize.bytes)
    let held = UInt32(clamping: size / bytes + (size % bytes > 0 ? 1 : 0))
    // The page of the lock bytes is never written, also where it is the last.
    if header.pages == header.pageSize.lockPage.rawValue, held == header.pages - 1 {
      return header.pages
    }
    return header.pages > 0 ? min(header.pages, held) : held
  }
}
