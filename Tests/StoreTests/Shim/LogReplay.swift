import LTX

@testable import Store

/// Databases as the log alone says them: every entry decoded and applied to bytes in memory.
struct LogReplay {
  struct Image {
    var bytes: [UInt8] = []
    var pageSize = 0
    var position = Position.zero
  }

  struct Mismatch: Error, CustomStringConvertible {
    var description: String
  }

  private(set) var images: [String: Image] = [:]
  private(set) var last = LogIndex.zero
  /// Pages in transactions so far.
  private(set) var pages = 0

  /// Takes what the log has gained.
  mutating func advance(_ log: Log, through limit: LogIndex? = nil) throws {
    let through = limit ?? log.last.index
    guard last < through else { return }
    var entries: [LogEntry] = []
    try log.forEach(after: last, through: through) { (entry) throws(StoreError) in
      entries.append(entry)
    }
    for entry in entries {
      switch entry.kind {
      case .noOperation, .stage: break
      case .drop: images[entry.database] = nil
      case .rename:
        images[String(decoding: entry.payload, as: UTF8.self)] =
          images.removeValue(forKey: entry.database)
      case .transaction, .stagedTransaction: try apply(entry, log)
      }
      last = entry.id.index
    }
  }

  private mutating func apply(_ entry: LogEntry, _ log: Log) throws {
    var decoder = try TransactionPlan.decoder(entry, log: log)
    let header = decoder.header
    var image = images[entry.database] ?? Image()
    guard header.minTXID.rawValue == image.position.txid.rawValue + 1,
      header.minTXID == header.maxTXID,
      header.isSnapshot || header.preApply == image.position.checksum
    else { throw Mismatch(description: "\(entry.id) does not follow \(image.position)") }
    let size = header.pageSize.bytes
    if image.pageSize != size { image.bytes = [] }
    image.pageSize = size
    let old = image.bytes.count / size
    let new = Int(header.commit)
    if new > old { image.bytes += [UInt8](repeating: 0, count: (new - old) * size) }
    if new < old { image.bytes.removeLast((old - new) * size) }
    var seen: Set<UInt32> = []
    var count = 0
    try TransactionPlan.forEach(&decoder, entry.database) { (digest, bytes) throws(StoreError) in
      let start = Int(digest.number.rawValue - 1) * size
      image.bytes.replaceSubrange(start..<(start + size), with: bytes)
      seen.insert(digest.number.rawValue)
      count += 1
    }
    pages += count
    if new > old {
      for number in (old + 1)...new where !seen.contains(UInt32(number)) {
        guard PageNumber(UInt32(number)) == header.pageSize.lockPage else {
          throw Mismatch(description: "\(entry.id) grows to \(new) pages without page \(number)")
        }
      }
    }
    let sum = Self.checksum(image.bytes, header.pageSize)
    guard let trailer = decoder.trailer, trailer.postApply == sum else {
      throw Mismatch(description: "\(entry.id) promises another checksum than its pages give")
    }
    image.position = Position(txid: header.maxTXID, checksum: sum)
    images[entry.database] = image
  }

  /// The checksum of a whole database.
  static func checksum(_ bytes: [UInt8], _ size: PageSize) -> Checksum {
    bytes.withUnsafeBytes { raw in
      var total = Checksum.empty
      for number in 0..<(raw.count / size.bytes) {
        let page = PageNumber(UInt32(number + 1))
        guard page != size.lockPage else { continue }
        let part = raw[(number * size.bytes)..<((number + 1) * size.bytes)]
        total = total.toggling(Checksum.page(page, UnsafeRawBufferPointer(rebasing: part)))
      }
      return total
    }
  }
}
