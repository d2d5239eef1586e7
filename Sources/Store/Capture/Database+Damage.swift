import LTX
import Logging
import Synchronization

// A page whose bytes are not those that were committed, though no transaction is under way: the disk
// lost it, or a program wrote into the node's own files. On the primary it stays as it is and is reported.
// It must not reach the replicas, so capture leaves a page alone that still has just the bytes it was
// found damaged with. What a transaction writes there counts as any other change.

/// A page that does not have the content it should.
struct DamagedPage: Sendable, Equatable {
  /// The checksum of what was committed.
  var expected: Checksum
  /// The checksum of what is there.
  var found: Checksum
}

extension Database {
  /// Remembers and reports a damaged page of the primary.
  func noteDamage(_ page: PageNumber, _ damage: DamagedPage, in state: inout DatabaseState) {
    guard state.damaged[page] != damage else { return }
    if state.damaged[page] == nil { context.damageFound.add(1, ordering: .relaxed) }
    state.damaged[page] = damage
    publish(state)
    context.logger.error(
      """
      a page of a database is not what was committed; no replica gets it; to mend it, export the \
      database on a replica and import it here
      """,
      metadata: [
        "database": "\(name)", "page": "\(page)", "expected": "\(damage.expected)",
        "found": "\(damage.found)",
      ]
    )
  }

  /// Whether a page has the very bytes that were found to be damage, so that nobody has written it.
  func isKnownDamage(
    _ page: PageNumber,
    _ found: Checksum,
    in state: borrowing DatabaseState
  ) -> Bool {
    guard let damage = state.damaged[page] else { return false }
    return damage.found == found && damage.expected == state.checksums?[page]
  }

  /// Leaves out what is damage and no change, for a comparison of all pages.
  func withoutDamage(
    _ places: [PagePlace],
    _ main: any DiskFile,
    _ size: PageSize,
    in state: borrowing DatabaseState
  ) throws(StoreError) -> [PagePlace] {
    guard !state.damaged.isEmpty, state.pageSize == size else { return places }
    var left: Set<PageNumber> = []
    var page = [UInt8](repeating: 0, count: size.bytes)
    for number in state.damaged.keys {
      let found = try main.checksum(of: number, size, &page)
      if isKnownDamage(number, found, in: state) { left.insert(number) }
    }
    return left.isEmpty ? places : places.filter { !left.contains($0.page) }
  }

  /// Finds pages that a journal names and its transaction did not change, but that differ from what was
  /// committed: they were damaged before it began.
  ///
  /// A commit changes page 1 (the change counter), so all of this is for what ends otherwise: a
  /// rollback, and transactions of a client that keeps the lock. In a commit only known damage is left out.
  ///
  /// - Returns: the pages that are not to be recorded.
  func damagedBefore(
    _ journal: RollbackJournal,
    _ records: [RollbackJournal.Record],
    _ main: any DiskFile,
    in state: inout DatabaseState
  ) throws(StoreError) -> Set<PageNumber> {
    let size = journal.header.pageSize
    guard state.pageSize == size, !state.uncompared else { return [] }
    var buffer = [UInt8](repeating: 0, count: size.bytes)
    func original(_ record: RollbackJournal.Record) throws(StoreError) -> Checksum? {
      let bytes = try journal.original(record)
      guard bytes.count == size.bytes else { return nil }
      return bytes.withUnsafeBytes { Checksum.page(record.page, $0) }
    }
    var isCommit = false
    if let head = records.first(where: { $0.page.rawValue == 1 }) {
      let found = try main.checksum(of: head.page, size, &buffer)
      if found != state.checksums?[head.page] { isCommit = try original(head) != found }
    }
    if isCommit, state.damaged.isEmpty { return [] }
    var damaged: Set<PageNumber> = []
    var seen: Set<PageNumber> = []
    for record in records where seen.insert(record.page).inserted {
      guard let expected = state.checksums?[record.page] else { continue }
      let found = try main.checksum(of: record.page, size, &buffer)
      guard found != expected else { continue }
      let isKnown = isKnownDamage(record.page, found, in: state)
      if !isKnown { guard !isCommit, try original(record) == found else { continue } }
      damaged.insert(record.page)
      noteDamage(record.page, DamagedPage(expected: expected, found: found), in: &state)
    }
    return damaged
  }

  /// Notes every page that differs from what was committed and is no leaf of the freelist.
  func noteDamageInUse(in state: inout DatabaseState) throws(StoreError) {
    guard let size = state.pageSize, state.pages > 0 else { return }
    let main = try mainFile(&state)
    let leaves = try FreelistLeaves.all(pages: state.pages) { page throws(StoreError) in
      try main.readBytes(size.bytes, at: page.offset(size))
    }
    var buffer = [UInt8](repeating: 0, count: size.bytes)
    for number in 1...state.pages where !leaves.contains(PageNumber(number)) {
      let page = PageNumber(number)
      guard let expected = state.checksums?[page] else { continue }
      let found = try main.checksum(of: page, size, &buffer)
      guard found != expected else { continue }
      noteDamage(page, DamagedPage(expected: expected, found: found), in: &state)
    }
  }

  /// Looks again at the damaged pages: a transaction may have written them, an import brought them back.
  func settleDamage(in state: inout DatabaseState) throws(StoreError) {
    guard !state.damaged.isEmpty, let size = state.pageSize else { return }
    var page = [UInt8](repeating: 0, count: size.bytes)
    for (number, damage) in state.damaged {
      if state.checksums?[number] != damage.expected {
        state.damaged[number] = nil
        context.logger.warning(
          """
          a transaction has rewritten or removed a page that was damaged; what its writer read of \
          the damage is now a part of the database: check it with PRAGMA integrity_check
          """,
          metadata: ["database": "\(name)", "page": "\(number)"]
        )
        continue
      }
      let found = try storedChecksum(of: number, size, &page, in: &state)
      guard found == damage.expected else { continue }
      state.damaged[number] = nil
      context.logger.notice(
        "a damaged page is again what was committed",
        metadata: ["database": "\(name)", "page": "\(number)"]
      )
    }
    publish(state)
  }
}
