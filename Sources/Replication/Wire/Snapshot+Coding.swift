package import LTX
import NIOCore
import Store

/// From a replica: the pages of a database that differ from what it has.
///
/// The checksums come in several frames of the same id, the last of which says so.
package struct SnapshotRequest: Hashable, Sendable {
  /// Chosen by the replica; the answer carries it, so that an answer given up is told from a new one.
  package var id: UInt32
  package var database: String
  package var isLast: Bool
  /// The next page checksums, in order from page 1 on over all frames.
  package var checksums: [Checksum]

  package init(id: UInt32, database: String, isLast: Bool, checksums: [Checksum]) {
    self.id = id
    self.database = database
    self.isLast = isLast
    self.checksums = checksums
  }
}

/// From the primary: a snapshot cannot be had.
package struct SnapshotFailure: Hashable, Sendable {
  package enum Reason: UInt8, Sendable {
    /// The primary has no such database.
    case notFound = 1
    /// Reading it failed; try again later.
    case failed = 2
  }

  package var reason: Reason
  package var text: String

  package init(reason: Reason, text: String) {
    self.reason = reason
    self.text = text
  }
}

extension SnapshotRequest {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(id)
    buffer.writeText(database, max: WireLimit.database)
    buffer.writeInteger(isLast ? 1 : 0 as UInt8)
    buffer.writeInteger(UInt32(checksums.count))
    for checksum in checksums { buffer.writeInteger(checksum.rawValue) }
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let id = try reader.integer(UInt32.self)
    let database = try reader.databaseName()
    let isLast = try reader.flag()
    let count = try reader.count(max: WireLimit.checksumsPerFrame, elementSize: 8)
    var checksums: [Checksum] = []
    checksums.reserveCapacity(count)
    for _ in 0..<count { checksums.append(Checksum(rawValue: try reader.integer())) }
    self.init(id: id, database: database, isLast: isLast, checksums: checksums)
  }
}

extension SnapshotBegin {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeText(database, max: WireLimit.database)
    buffer.writeInteger(index.rawValue)
    buffer.writeInteger(pageSize)
    buffer.writeInteger(pages)
    buffer.writeInteger(differing)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let database = try reader.databaseName()
    let index = try reader.index()
    let pageSize = try reader.pageSize()
    let pages = try reader.integer(UInt32.self)
    self.init(
      database: database,
      index: index,
      pageSize: pageSize,
      pages: pages,
      differing: try reader.integer()
    )
  }
}

extension WireReader {
  mutating func pageSize() throws(ReplicationError) -> UInt32 {
    let size = try integer(UInt32.self)
    guard PageSize(bytes: Int(size)) != nil else {
      throw ReplicationError(.malformed, "A message names a page size of \(size) bytes.")
    }
    return size
  }
}

extension SnapshotPage {
  /// Pages of one size: the size, the number of pages, then each page's number and bytes.
  ///
  /// - Precondition: `pages` is not empty, and all are as long as the first.
  static func encode(_ pages: [SnapshotPage], into buffer: inout ByteBuffer) {
    let size = pages.first?.bytes.count ?? 0
    precondition(pages.allSatisfy { $0.bytes.count == size }, "pages of different sizes")
    buffer.reserveCapacity(minimumWritableBytes: 8 + pages.count * (4 + size))
    buffer.writeInteger(UInt32(size))
    buffer.writeInteger(UInt32(pages.count))
    for page in pages {
      buffer.writeInteger(page.number.rawValue)
      buffer.writeBytes(page.bytes)
    }
  }

  static func list(from reader: inout WireReader) throws(ReplicationError) -> [SnapshotPage] {
    let size = Int(try reader.pageSize())
    let count = try reader.count(max: Frame.maxPayload, elementSize: 4 + size)
    guard count > 0, count * (4 + size) == reader.remaining else {
      throw ReplicationError(.malformed, "The pages of a message do not fill it.")
    }
    var pages: [SnapshotPage] = []
    pages.reserveCapacity(count)
    for _ in 0..<count {
      let number = try reader.integer(UInt32.self)
      guard number > 0 else { throw ReplicationError(.malformed, "A page has the number 0.") }
      pages.append(SnapshotPage(number: PageNumber(number), bytes: try reader.bytes(size)))
    }
    return pages
  }
}

extension SnapshotEnd {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(index.rawValue)
    buffer.writeInteger(position.txid.rawValue)
    buffer.writeInteger(position.checksum.rawValue)
    buffer.writeInteger(pages)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let index = try reader.index()
    let position = try reader.position()
    self.init(index: index, position: position, pages: try reader.integer())
  }
}

extension SnapshotFailure {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(reason.rawValue)
    buffer.writeText(text, max: WireLimit.text)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    guard let reason = Reason(rawValue: try reader.integer()) else {
      throw ReplicationError(.malformed, "A failure of a snapshot has an unknown reason.")
    }
    self.init(reason: reason, text: try reader.text(max: WireLimit.text))
  }
}
