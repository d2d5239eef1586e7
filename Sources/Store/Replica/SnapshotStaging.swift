import LTX

// Pages of a snapshot while it arrives: a file in `staging/` of records that are only appended, each
// a page number (4 bytes) and a page, behind a header of the page size (4 bytes), so that what has arrived
// survives the loss of the connection and a restart of the node. Of a page that came twice the last counts.

/// A snapshot that is arriving.
struct SnapshotStaging: Sendable {
  static let headerBytes: Int64 = 4

  let path: String
  let file: any DiskFile
  let pageSize: PageSize
  /// Where each page's newest record begins, and its checksum.
  private(set) var offsets: [UInt32: Int64] = [:]
  private(set) var checksums: [UInt32: Checksum] = [:]
  private var end: Int64 = headerBytes
  /// The entries up to this one need not be applied over the pages; nil until the primary said so
  /// on this connection.
  var begin: LogIndex?
  /// Pages of the database as of the entries applied over it, or nil before any.
  var pages: UInt32?

  static func path(_ store: Store, _ database: String) -> String {
    var crc = CRC64()
    Array(database.utf8).withUnsafeBytes { crc.update($0) }
    return store.configuration.stagingDirectory + "/" + hexadecimal(crc.value) + ".pages"
  }

  /// Continues what an earlier connection left, if it has the same page size, or begins anew.
  ///
  /// - Parameter pageSize: nil to continue only.
  static func open(
    _ store: Store,
    _ database: String,
    pageSize: PageSize?
  ) throws(StoreError) -> SnapshotStaging? {
    let path = path(store, database)
    let disk = store.context.disk
    if let file = try disk.openForMapping(path) {
      let head = try file.readBytes(Int(headerBytes), at: 0)
      let bytes = head.count == 4 ? head.withUnsafeBytes { $0.bigEndian(UInt32.self, at: 0) } : 0
      if let size = PageSize(bytes: Int(bytes)), pageSize == nil || pageSize == size {
        var staging = SnapshotStaging(path: path, file: file, pageSize: size)
        try staging.scan()
        return staging
      }
    }
    guard let pageSize else { return nil }
    return try create(disk, path, pageSize: pageSize)
  }

  /// Begins a file without pages.
  static func create(
    _ disk: any Disk,
    _ path: String,
    pageSize: PageSize
  ) throws(StoreError) -> SnapshotStaging {
    let file = try disk.open(path, [.write, .create, .truncate])
    var head: [UInt8] = []
    head.appendBigEndian(UInt32(pageSize.bytes))
    try file.writeAll(head, at: 0)
    return SnapshotStaging(path: path, file: file, pageSize: pageSize)
  }

  private init(path: String, file: any DiskFile, pageSize: PageSize) {
    self.path = path
    self.file = file
    self.pageSize = pageSize
  }

  private var recordBytes: Int { 4 + pageSize.bytes }

  private mutating func scan() throws(StoreError) {
    while true {
      let record = try file.readBytes(recordBytes, at: end)
      guard record.count == recordBytes else { return }
      let (number, checksum) = record.withUnsafeBytes { raw in
        let number = raw.bigEndian(UInt32.self, at: 0)
        return (
          number,
          Checksum.page(PageNumber(number), UnsafeRawBufferPointer(rebasing: raw[4...]))
        )
      }
      // What a crash of the machine left is no record; what follows is written over it.
      guard number > 0 else { return }
      offsets[number] = end
      checksums[number] = checksum
      end += Int64(recordBytes)
    }
  }

  /// Adds pages; one write for all of them.
  mutating func add(_ pages: [SnapshotPage]) throws(StoreError) {
    var buffer: [UInt8] = []
    buffer.reserveCapacity(pages.count * recordBytes)
    for page in pages {
      guard page.bytes.count == pageSize.bytes, page.number.rawValue > 0 else {
        throw StoreError(.corrupt, "a snapshot's page \(page.number) has the wrong size")
      }
      buffer.appendBigEndian(page.number.rawValue)
      buffer.append(contentsOf: page.bytes)
    }
    try file.writeAll(buffer, at: end)
    for (offset, page) in pages.enumerated() {
      let number = page.number.rawValue
      offsets[number] = end + Int64(offset * recordBytes)
      checksums[number] = page.bytes.withUnsafeBytes { Checksum.page(page.number, $0) }
    }
    end += Int64(buffer.count)
  }

  /// Forgets pages past the end of the database.
  mutating func cut(to pages: UInt32) {
    self.pages = pages
    offsets = offsets.filter { $0.key <= pages }
    checksums = checksums.filter { $0.key <= pages }
  }

  func content(_ page: UInt32) throws(StoreError) -> [UInt8] {
    guard let offset = offsets[page] else { return [] }
    return try file.readBytes(pageSize.bytes, at: offset + 4)
  }
}
