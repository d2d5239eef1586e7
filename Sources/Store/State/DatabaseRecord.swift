import LTX

// What the store remembers of a database from one start to the next, two files in `state/`:
//
// `<key>.db`, replaced as a whole (new file, fsync, rename, fsync of the directory): "HALITEDB",
// version, key, entry up to which main file and checksums are stable, entry and position they
// stood at when written, page size, pages, name, CRC-64. `<key>.sums`: the page checksums, eight
// bytes each, big-endian.
//
// The checksum file is written in place and may be newer than `<key>.db` says, in part or in whole, after
// a crash. That does no harm: a page whose checksum can have changed since `stable` is in the log
// behind `stable`, and redo sets its checksum again.

/// The persistent description of one database.
struct DatabaseRecord: Equatable {
  static let magic: [UInt8] = Array("HALITEDB".utf8)
  static let version: UInt32 = 1
  static let fixedBytes = 8 + 4 + 8 + 8 + 8 + 8 + 8 + 4 + 4 + 2

  var key: UInt64
  var name: String
  var stable: LogIndex
  var entry: LogIndex
  var position: Position
  var pageSize: UInt32
  var pages: UInt32

  func encoded() -> [UInt8] {
    var bytes = Self.magic
    bytes.appendBigEndian(Self.version)
    bytes.appendBigEndian(key)
    bytes.appendBigEndian(stable.rawValue)
    bytes.appendBigEndian(entry.rawValue)
    bytes.appendBigEndian(position.txid.rawValue)
    bytes.appendBigEndian(position.checksum.rawValue)
    bytes.appendBigEndian(pageSize)
    bytes.appendBigEndian(pages)
    bytes.appendBigEndian(UInt16(name.utf8.count))
    bytes.append(contentsOf: name.utf8)
    var crc = CRC64()
    bytes.withUnsafeBytes { crc.update($0) }
    bytes.appendBigEndian(crc.value)
    return bytes
  }

  init(
    key: UInt64,
    name: String,
    stable: LogIndex,
    entry: LogIndex,
    position: Position,
    pageSize: UInt32,
    pages: UInt32
  ) {
    self.key = key
    self.name = name
    self.stable = stable
    self.entry = entry
    self.position = position
    self.pageSize = pageSize
    self.pages = pages
  }

  /// - Returns: nil when the bytes are not an intact record.
  init?(_ bytes: [UInt8]) {
    let decoded = bytes.withUnsafeBytes { raw -> DatabaseRecord? in
      guard raw.count >= Self.fixedBytes + 8, raw.prefix(8).elementsEqual(Self.magic),
        raw.bigEndian(UInt32.self, at: 8) == Self.version
      else { return nil }
      let nameLength = Int(raw.bigEndian(UInt16.self, at: 60))
      let end = Self.fixedBytes + nameLength
      guard raw.count == end + 8 else { return nil }
      var crc = CRC64()
      crc.update(UnsafeRawBufferPointer(rebasing: raw[0..<end]))
      guard crc.value == raw.bigEndian(UInt64.self, at: end) else { return nil }
      return DatabaseRecord(
        key: raw.bigEndian(UInt64.self, at: 12),
        name: String(decoding: raw[Self.fixedBytes..<end], as: UTF8.self),
        stable: LogIndex(raw.bigEndian(UInt64.self, at: 20)),
        entry: LogIndex(raw.bigEndian(UInt64.self, at: 28)),
        position: Position(
          txid: TXID(raw.bigEndian(UInt64.self, at: 36)),
          checksum: Checksum(rawValue: raw.bigEndian(UInt64.self, at: 44))
        ),
        pageSize: raw.bigEndian(UInt32.self, at: 52),
        pages: raw.bigEndian(UInt32.self, at: 56)
      )
    }
    guard let decoded else { return nil }
    self = decoded
  }

  static func path(_ directory: String, _ key: UInt64) -> String {
    directory + "/" + hexadecimal(key) + ".db"
  }

  static func checksumPath(_ directory: String, _ key: UInt64) -> String {
    directory + "/" + hexadecimal(key) + ".sums"
  }
}

extension Disk {
  /// Replaces a file so that after any crash it holds either the old bytes or the new.
  ///
  /// The temporary file's fsync comes before the rename, so a crash never leaves the name with
  /// half of the bytes; the directory's comes after it, so that the rename itself is durable.
  package func replace(_ path: String, with bytes: [UInt8], in directory: String) throws(StoreError)
  {
    let temporary = path + ".tmp"
    let file = try open(temporary, [.write, .create, .truncate])
    try file.writeAll(bytes, at: 0)
    try file.sync()
    try rename(temporary, to: path)
    try syncDirectory(directory)
  }

  /// A whole file of at most `limit` bytes, or nil when there is none.
  package func contents(_ path: String, limit: Int) throws(StoreError) -> [UInt8]? {
    guard let information = try information(path) else { return nil }
    guard information.size <= limit else {
      throw StoreError(.corrupt, "\(path) is larger than the \(limit) bytes it can have")
    }
    return try open(path, []).readBytes(Int(information.size), at: 0)
  }
}
