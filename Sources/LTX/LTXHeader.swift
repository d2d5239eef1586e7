/// The first 100 bytes of an LTX file: which transactions it holds, and of what database.
///
/// From the LTX specification (superfly/ltx); all numbers most significant byte first:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | magic `LTX1` |
/// | 4 | 4 | flags |
/// | 8 | 4 | page size, a power of two from 512 to 65,536 |
/// | 12 | 4 | Commit: pages of the database after the transaction, 0 when it was deleted |
/// | 16 | 8 | MinTXID, from 1 |
/// | 24 | 8 | MaxTXID, not below MinTXID |
/// | 32 | 8 | timestamp, milliseconds since 1970 |
/// | 40 | 8 | PreApplyChecksum: 0 for a snapshot or without checksums, else bit 63 is set |
/// | 48 | 8 | WALOffset, not negative; not 0 if a salt or the size is set |
/// | 56 | 8 | WALSize, not negative |
/// | 64 | 8 | both salts of the WAL |
/// | 72 | 8 | the node that made the file, or 0 |
/// | 80 | 20 | zero |
///
/// The same for every revision of the body, and no revision number is stored.
package struct LTXHeader: Hashable, Sendable {
  /// Bytes of an encoded header.
  package static let size = 100
  static let magic: UInt32 = 0x4C54_5831

  package var flags: LTXFlags
  package var pageSize: PageSize
  /// Pages of the database after the transaction; 0 when the database was deleted.
  package var commit: UInt32
  package var minTXID: TXID
  package var maxTXID: TXID
  /// Milliseconds since 1970.
  package var timestamp: Int64
  /// The database's checksum before; none for a snapshot or without checksums.
  package var preApply: Checksum
  /// Where in the WAL the transaction began, in bytes; 0 when it is not from a WAL.
  package var walOffset: Int64
  /// Bytes of WAL the transaction took.
  package var walSize: Int64
  package var walSalt1: UInt32
  package var walSalt2: UInt32
  package var nodeID: UInt64

  package init(
    flags: LTXFlags = [],
    pageSize: PageSize,
    commit: UInt32,
    minTXID: TXID,
    maxTXID: TXID,
    timestamp: Int64,
    preApply: Checksum,
    walOffset: Int64 = 0,
    walSize: Int64 = 0,
    walSalt1: UInt32 = 0,
    walSalt2: UInt32 = 0,
    nodeID: UInt64 = 0
  ) {
    self.flags = flags
    self.pageSize = pageSize
    self.commit = commit
    self.minTXID = minTXID
    self.maxTXID = maxTXID
    self.timestamp = timestamp
    self.preApply = preApply
    self.walOffset = walOffset
    self.walSize = walSize
    self.walSalt1 = walSalt1
    self.walSalt2 = walSalt2
    self.nodeID = nodeID
  }

  /// The file needs nothing before it: it holds every page.
  package var isSnapshot: Bool { minTXID.rawValue == 1 }

  /// The file is made without database checksums.
  package var hasChecksums: Bool { !flags.contains(.noChecksum) }
}

extension LTXHeader {
  /// Reads and checks a header.
  ///
  /// - Parameter bytes: at least 100; those after are not looked at.
  package init(decoding bytes: UnsafeRawBufferPointer) throws(LTXError) {
    guard bytes.count >= Self.size else {
      throw LTXError(
        .truncated,
        "the file has \(bytes.count) bytes, an LTX header has \(Self.size); fetch it again"
      )
    }
    guard bytes.bigEndian(UInt32.self, at: 0) == Self.magic else {
      throw LTXError(.corrupt, "the file does not begin with LTX1: it is not an LTX file")
    }
    let size = bytes.bigEndian(UInt32.self, at: 8)
    guard let pageSize = PageSize(bytes: Int(size)) else {
      throw LTXError(
        .corrupt,
        "page size \(size) is not a power of two from 512 to 65536"
      )
    }
    guard bytes[80..<Self.size].allSatisfy({ $0 == 0 }) else {
      throw LTXError(.corrupt, "the reserved bytes 80 to 99 of the header are not zero")
    }
    self.init(
      flags: LTXFlags(rawValue: bytes.bigEndian(UInt32.self, at: 4)),
      pageSize: pageSize,
      commit: bytes.bigEndian(UInt32.self, at: 12),
      minTXID: TXID(bytes.bigEndian(UInt64.self, at: 16)),
      maxTXID: TXID(bytes.bigEndian(UInt64.self, at: 24)),
      timestamp: bytes.bigEndian(Int64.self, at: 32),
      preApply: Checksum(rawValue: bytes.bigEndian(UInt64.self, at: 40)),
      walOffset: bytes.bigEndian(Int64.self, at: 48),
      walSize: bytes.bigEndian(Int64.self, at: 56),
      walSalt1: bytes.bigEndian(UInt32.self, at: 64),
      walSalt2: bytes.bigEndian(UInt32.self, at: 68),
      nodeID: bytes.bigEndian(UInt64.self, at: 72)
    )
    try validate()
  }

  /// Appends the 100 bytes.
  package func encode(into bytes: inout [UInt8]) {
    bytes.appendBigEndian(Self.magic)
    bytes.appendBigEndian(flags.rawValue)
    bytes.appendBigEndian(UInt32(truncatingIfNeeded: pageSize.bytes))
    bytes.appendBigEndian(commit)
    bytes.appendBigEndian(minTXID.rawValue)
    bytes.appendBigEndian(maxTXID.rawValue)
    bytes.appendBigEndian(timestamp)
    bytes.appendBigEndian(preApply.rawValue)
    bytes.appendBigEndian(walOffset)
    bytes.appendBigEndian(walSize)
    bytes.appendBigEndian(walSalt1)
    bytes.appendBigEndian(walSalt2)
    bytes.appendBigEndian(nodeID)
    bytes.appendBigEndian(UInt64(0))
    bytes.appendBigEndian(UInt64(0))
    bytes.appendBigEndian(UInt32(0))
  }

  /// Checks every rule of the format that concerns the header alone.
  package func validate() throws(LTXError) {
    guard flags.isSubset(of: .all) else {
      throw LTXError(
        .unsupported,
        "flags 0x\(String(flags.rawValue, radix: 16)) are not known; a newer version may read it"
      )
    }
    guard minTXID > .zero, maxTXID >= minTXID else {
      throw LTXError(
        .corrupt,
        "transactions \(minTXID) to \(maxTXID) are not a range that starts at 1 or later"
      )
    }
    try validatePreApply()
    guard walOffset >= 0, walSize >= 0 else {
      throw LTXError(.corrupt, "WAL offset \(walOffset) or size \(walSize) is negative")
    }
    guard walOffset > 0 || (walSalt1 == 0 && walSalt2 == 0 && walSize == 0) else {
      throw LTXError(.corrupt, "a WAL salt or size is given without the WAL offset")
    }
  }

  private func validatePreApply() throws(LTXError) {
    if isSnapshot || !hasChecksums {
      guard preApply == .none else {
        throw LTXError(
          .corrupt,
          "pre-apply checksum \(preApply) must be zero in a snapshot or without checksums"
        )
      }
    } else {
      guard preApply.isFlagged else {
        throw LTXError(.corrupt, "pre-apply checksum \(preApply) is missing or lacks bit 63")
      }
    }
  }
}
