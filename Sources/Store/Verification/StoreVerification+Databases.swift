import LTX

// What a page of a main file should be, on a node that has been stopped or that died:
//
// * the record names the entry up to which the main file was made stable, and the page checksums beside it
//   are at least as new. Pages that the log has written behind that entry are written again by the next
//   start, so that they may be anything now; what they will be is in the log;
// * with a hot rollback journal the next start first restores the pages that it names. Leaves of the
//   freelist that the interrupted transaction used again are in no journal (`FreelistLeaves`).

extension StoreVerification {
  /// Damaged pages named for one database; the rest is counted.
  private static let namedPages = 8
  /// Pages read at once, in bytes.
  private static let pieceBytes = 1 << 20

  /// What is known of a database before its file is read.
  private struct Expectation {
    var record: DatabaseRecord
    var size: PageSize
    /// By page from 1 on; nil for one that need not be anything.
    var checksums: [Checksum?]
    /// Pages that the next start writes from the log.
    var redone = 0
    /// What the next start restores from a hot journal.
    var originals: [PageNumber: Checksum] = [:]
    /// A transaction that a crash interrupted may have used free pages again.
    var isInterrupted = false
  }

  mutating func verifyDatabase(_ record: DatabaseRecord) throws(StoreError) {
    let subject = "database \(record.name)"
    guard let expectation = try expectation(record) else { return }
    let path = configuration.tree + "/" + record.name
    guard try disk.information(path) != nil else {
      if record.pages > 0 {
        note(
          subject,
          .damaged,
          "its file \(path) is gone",
          remedy: "on a replica, start the node: it is fetched again; on the primary, import it "
            + "from a replica or a backup"
        )
      }
      return
    }
    let damaged = try damagedPages(try disk.open(path, []), expectation)
    guard !damaged.isEmpty else {
      var value = "\(record.pages) pages, at \(record.position)"
      if expectation.redone > 0 {
        value += "; the next start writes \(expectation.redone) of them from the log"
      }
      return note(subject, .sound, value)
    }
    let named = damaged.prefix(Self.namedPages).map { "\($0)" }.joined(separator: ", ")
    let more = damaged.count > Self.namedPages ? " and \(damaged.count - Self.namedPages) more" : ""
    guard !expectation.isInterrupted else {
      return note(
        subject,
        .notable,
        "pages \(named)\(more) differ from what was committed; an interrupted transaction may have "
          + "used free pages again",
        remedy: "start the node, and examine it again once it has been stopped"
      )
    }
    note(
      subject,
      .damaged,
      "pages \(named)\(more) of \(path) are not what was committed",
      remedy: VerificationFinding.Remedy.page
    )
  }

  /// - Returns: nil when the page checksums cannot be trusted, which has been noted.
  private mutating func expectation(_ record: DatabaseRecord) throws(StoreError) -> Expectation? {
    guard let size = PageSize(bytes: Int(record.pageSize)) else { return nil }
    let subject = "database \(record.name)"
    var table = PageChecksums(pageSize: size, values: try readSums(record))
    var expectation = Expectation(record: record, size: size, checksums: [])
    var position = record.position
    let history = histories[record.name]
    if let history, let logged = history.position, history.last > record.stable {
      if history.pageSize != size { table = PageChecksums(pageSize: history.pageSize ?? size) }
      table.resize(to: Int(history.pages))
      for (page, write) in history.writes
      where write.entry > record.stable && page != size.lockPage
        && page.rawValue <= history.pages
      {
        table.set(page, write.checksum)
        expectation.redone += 1
      }
      position = logged
      guard history.pageSize == size else {
        note(subject, .notable, "the next start writes all of it from the log")
        return nil
      }
    }
    guard table.total == position.checksum || record.pages == 0 else {
      note(
        subject,
        .damaged,
        "its page checksums do not add up to its position \(position)",
        remedy: "start the node: it reads the file anew; where that does not help, "
          + VerificationFinding.Remedy.page
      )
      return nil
    }
    expectation.checksums = (0..<UInt32(table.count)).map { table[PageNumber($0 + 1)] }
    if let history {
      for (page, write) in history.writes where write.entry > record.stable {
        let index = Int(page.rawValue) - 1
        if index < expectation.checksums.count { expectation.checksums[index] = nil }
      }
    }
    try readJournal(&expectation)
    return expectation
  }

  private func readSums(_ record: DatabaseRecord) throws(StoreError) -> [UInt64] {
    let path = DatabaseRecord.checksumPath(configuration.stateDirectory, record.key)
    var values = [UInt64](repeating: 0, count: Int(record.pages))
    guard let file = try disk.openIfPresent(path) else { return values }
    let bytes = try file.readBytes(8 * values.count, at: 0)
    bytes.withUnsafeBytes { raw in
      for index in 0..<(raw.count / 8) {
        values[index] = raw.bigEndian(UInt64.self, at: 8 * index)
      }
    }
    return values
  }

  private func readJournal(_ expectation: inout Expectation) throws(StoreError) {
    let path = configuration.tree + "/" + expectation.record.name + "-journal"
    guard let file = try disk.openIfPresent(path) else { return }
    expectation.isInterrupted = try RollbackJournal(file, unsynced: true) != nil
    guard var journal = try RollbackJournal(file), journal.header.pageSize == expectation.size
    else { return }
    for record in try journal.records(hot: true)
    where expectation.originals[record.page] == nil {
      let original = try journal.original(record)
      guard original.count == expectation.size.bytes else { continue }
      expectation.originals[record.page] = original.withUnsafeBytes {
        Checksum.page(record.page, $0)
      }
    }
  }

  private mutating func damagedPages(
    _ file: any DiskFile,
    _ expectation: Expectation
  ) throws(StoreError) -> [PageNumber] {
    let size = expectation.size
    let step = max(1, Self.pieceBytes / size.bytes)
    var damaged: [PageNumber] = []
    var first = 0
    while first < expectation.checksums.count {
      let count = min(step, expectation.checksums.count - first)
      let offset = Int64(first) * Int64(size.bytes)
      var bytes = try file.readBytes(count * size.bytes, at: offset)
      bytes.append(contentsOf: repeatElement(0, count: count * size.bytes - bytes.count))
      bytes.withUnsafeBytes { raw in
        for index in first..<(first + count) {
          guard let expected = expectation.checksums[index] else { continue }
          let page = PageNumber(UInt32(index) + 1)
          let start = (index - first) * size.bytes
          let content = UnsafeRawBufferPointer(rebasing: raw[start..<(start + size.bytes)])
          let found = expectation.originals[page] ?? Checksum.page(page, content)
          if found != expected { damaged.append(page) }
        }
      }
      first += count
      advance(Int64(count * size.bytes))
    }
    return damaged
  }
}
