/// The newest entries in encoded form, so that a connected replica is fed from memory.
///
/// Entries are encoded straight into the last block and written to disk from there. A block is
/// given up whole when there are more than `maxBlocks`.
struct RecentEntries {
  /// Bytes after which a block is closed.
  static let blockBytes = 1 << 20
  static let maxBlocks = 4

  struct Block {
    var first: LogIndex
    var bytes: [UInt8]
    /// Where each entry of the block begins.
    var starts: [Int]
  }

  private(set) var blocks: [Block] = []

  /// Whether the next entry comes into the last block.
  var hasRoom: Bool { blocks.last.map { $0.bytes.count < Self.blockBytes } ?? false }

  /// Appends one entry by `encode`, which must append to the array it is given.
  ///
  /// - Returns: where in the last block's bytes the entry lies.
  mutating func append(
    _ index: LogIndex,
    _ encode: (inout [UInt8]) -> Void
  ) -> Range<Int> {
    if !hasRoom {
      var bytes: [UInt8] = []
      if blocks.count >= Self.maxBlocks {
        bytes = blocks.removeFirst().bytes
        bytes.removeAll(keepingCapacity: true)
      } else {
        // A part of a large transaction may be its last entry; memory that is not used costs nothing.
        bytes.reserveCapacity(Self.blockBytes + LogFormat.stageBytes + (64 << 10))
      }
      blocks.append(Block(first: index, bytes: bytes, starts: []))
    }
    let last = blocks.count - 1
    let start = blocks[last].bytes.count
    blocks[last].starts.append(start)
    encode(&blocks[last].bytes)
    return start..<blocks[last].bytes.count
  }

  /// Takes back the entry appended last.
  mutating func removeLast() {
    let last = blocks.count - 1
    precondition(last >= 0 && !blocks[last].starts.isEmpty, "there is no entry to take back")
    let start = blocks[last].starts.removeLast()
    blocks[last].bytes.removeSubrange(start...)
    if blocks[last].starts.isEmpty { blocks.removeLast() }
  }

  mutating func removeAll() { blocks.removeAll() }

  /// Bytes of the last block, for writing them to disk.
  func withLast(_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void)
    throws(StoreError)
  {
    var failure: StoreError?
    blocks[blocks.count - 1].bytes.withUnsafeBytes { raw in
      do throws(StoreError) {
        try body(UnsafeRawBufferPointer(rebasing: raw[range]))
      } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Whole entries from `first` on, at most `maxBytes` but at least one; nil when not in memory.
  func batch(from first: LogIndex, last: LogIndex, maxBytes: Int) -> LogBatch? {
    guard first <= last else { return LogBatch(first: first, last: last, bytes: []) }
    guard let position = blocks.lastIndex(where: { $0.first <= first }) else { return nil }
    var output: [UInt8] = []
    var next = first
    for block in blocks[position...] {
      let skip = Int(next.rawValue - block.first.rawValue)
      guard skip < block.starts.count else { return nil }
      let start = block.starts[skip]
      var end = skip
      func limit(_ k: Int) -> Int {
        k + 1 < block.starts.count ? block.starts[k + 1] : block.bytes.count
      }
      while end < block.starts.count,
        output.count + limit(end) - start <= maxBytes || (output.isEmpty && end == skip)
      {
        end += 1
      }
      guard end > skip else { break }
      output.append(contentsOf: block.bytes[start..<limit(end - 1)])
      next = LogIndex(block.first.rawValue + UInt64(end))
      if end < block.starts.count { break }
    }
    return LogBatch(first: first, last: LogIndex(next.rawValue - 1), bytes: output)
  }
}
