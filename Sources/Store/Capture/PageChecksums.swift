import LTX

/// The checksum of every page of one database and of the database as a whole.
///
/// Eight bytes a page in memory, the same on disk (`PageChecksumFile`). Pages written since the
/// last flush are remembered by block.
struct PageChecksums: Sendable {
  /// Checksums in one block of the file: 4 KiB.
  static let perBlock = 512

  private(set) var values: [UInt64] = []
  private(set) var total = Checksum.empty
  /// Blocks that differ from the file.
  private(set) var dirty: Set<Int> = []
  /// Zero-based index of the lock page, which has no checksum.
  private var lockIndex: Int

  /// Number of pages of the database, the lock page included.
  var count: Int { values.count }

  init(pageSize: PageSize) {
    lockIndex = Int(pageSize.lockPage.rawValue) - 1
  }

  init(pageSize: PageSize, values: [UInt64]) {
    self.values = values
    lockIndex = Int(pageSize.lockPage.rawValue) - 1
    var sum: UInt64 = 0
    for (index, value) in values.enumerated() where index != lockIndex { sum ^= value }
    total = Checksum(rawValue: sum | Checksum.flag)
  }

  /// Nil for a page past the end and for the lock page.
  subscript(page: PageNumber) -> Checksum? {
    let index = Int(page.rawValue) - 1
    guard index >= 0, index < values.count, index != lockIndex else { return nil }
    return Checksum(rawValue: values[index])
  }

  /// Sets the checksum of a page within the database.
  ///
  /// - Precondition: the page is within `count` and is not the lock page.
  mutating func set(_ page: PageNumber, _ checksum: Checksum) {
    let index = Int(page.rawValue) - 1
    precondition(index >= 0 && index < values.count && index != lockIndex, "no such page")
    // A page that was added but has no checksum yet counts as zero, which toggles nothing.
    total = total.toggling(Checksum(rawValue: values[index] ^ checksum.rawValue))
    values[index] = checksum.rawValue
    dirty.insert(index / Self.perBlock)
  }

  /// Sets the number of pages. New pages have no checksum (zero) until `set`.
  mutating func resize(to pages: Int) {
    if pages < values.count {
      for index in pages..<values.count where index != lockIndex {
        total = total.toggling(Checksum(rawValue: values[index]))
      }
      values.removeLast(values.count - pages)
      if pages > 0 { dirty.insert((pages - 1) / Self.perBlock) }
    } else if pages > values.count {
      let first = values.count / Self.perBlock
      values.append(contentsOf: repeatElement(0, count: pages - values.count))
      for block in first...((pages - 1) / Self.perBlock) { dirty.insert(block) }
    }
  }

  mutating func takeDirty() -> Set<Int> {
    defer { dirty = [] }
    return dirty
  }

  /// Makes blocks dirty again, after a flush that failed.
  mutating func markDirty(_ blocks: Set<Int>) { dirty.formUnion(blocks) }

  mutating func markAllDirty() {
    dirty = Set(0..<((values.count + Self.perBlock - 1) / Self.perBlock))
  }
}
