import LTX

// Which transactions a write-ahead log holds, told from the writes to it alone.
//
// The rule (the same by which SQLite's recovery decides): a transaction is committed when the file
// holds a valid chain of frames, salts and running checksum, from the last captured frame to one
// with the commit mark. Each write is looked at *before* it reaches the file, so that the
// transaction it completes can be logged first.
//
// A writer that ran out of cache writes frames early and may write their pages again in place;
// their checksums, and those of all frames behind, are then wrong until SQLite rewrites the frame
// headers at commit. So the chain is cut back to the first frame a write touches, and grown again
// frame by frame as far as the bytes, new ones included, bear it out.

/// The state of capture for one write-ahead log. A value without I/O: what it must read of the file
/// it asks of `source`.
struct WALCapture: Sendable {
  /// One frame whose checksum has been verified and that is not yet part of a captured transaction.
  struct Link: Sendable {
    var page: UInt32
    /// The running checksum behind this frame.
    var sum: WALSum
  }

  /// A transaction that is complete once the write at hand is in the file.
  struct Transaction: Sendable {
    /// Page numbers by frame, the first at `offset`.
    var pages: [UInt32]
    /// Where the first frame begins, and where the last ends.
    var offset: Int64
    var end: Int64
    /// Pages of the database after it.
    var commit: UInt32
    var header: WALHeader
  }

  private(set) var header: WALHeader?
  /// Where the frames end that have been captured.
  private(set) var captured: Int64 = 0
  private var capturedSum = WALSum()
  /// Frames verified behind `captured`.
  private var chain: [Link] = []
  /// How far the file has been written since its header was; beyond lies an earlier generation.
  private var written: Int64 = 0
  /// The frame whose header was written last, by its offset, where it has no commit mark.
  private var uncommitted: Int64?

  /// Where the verified chain ends.
  var chainEnd: Int64 {
    guard let header else { return 0 }
    return captured + Int64(chain.count) * header.frameBytes
  }

  private var chainSum: WALSum { chain.last?.sum ?? capturedSum }

  /// Frames verified and not yet committed.
  var pending: Int { chain.count }

  /// Number of captured frames.
  var frames: UInt32 {
    guard let header, captured > Int64(WALHeader.bytes) else { return 0 }
    return UInt32((captured - Int64(WALHeader.bytes)) / header.frameBytes)
  }

  /// The running checksum behind the last captured frame.
  var lastSum: WALSum { capturedSum }

  /// Starts at a log of which everything up to `end` is known.
  mutating func adopt(_ header: WALHeader, end: Int64, sum: WALSum) {
    self.header = header
    captured = end
    capturedSum = sum
    chain = []
    written = end
  }

  mutating func forget() { self = WALCapture() }

  /// Whether something was written behind the last captured frame.
  var isDangling: Bool { header != nil && written > captured }

  /// Lets the next look take all of the file for written, also what an earlier generation left: a
  /// writer that died between a frame's header and its page may have left a commit there, where
  /// the page happens to be what it was about to write.
  mutating func trustFile() { written = .max }

  /// The chain has been looked at as far as it goes.
  mutating func settle() { written = chainEnd }

  /// Looks at a file that others write, as far as `end`: of what lies behind the last captured frame nothing
  /// is known.
  mutating func beginLook(through end: Int64) {
    chain.removeAll(keepingCapacity: true)
    written = end
  }

  /// Whoever writes the file may change what has been looked at and not been committed.
  mutating func endLook() {
    chain.removeAll(keepingCapacity: true)
    written = captured
  }

  /// Lets go of room for more frames than that which are not needed now.
  mutating func releaseLarge(above frames: Int) -> Bool {
    guard chain.isEmpty, chain.capacity > frames else { return false }
    chain = []
    return true
  }

  /// The file has a new size.
  mutating func truncated(to size: Int64) {
    guard let header else { return }
    guard size >= captured else {
      forget()
      return
    }
    cutChain(at: size, header)
    written = min(written, size)
  }

  /// Cuts the chain back to frames that end at or before `offset`.
  private mutating func cutChain(at offset: Int64, _ header: WALHeader) {
    guard offset < chainEnd else { return }
    let keep = max(0, (offset - captured) / header.frameBytes)
    chain.removeLast(chain.count - Int(keep))
  }

  /// Whether a write is one of those by which SQLite appends a frame, its header and then its page, and
  /// the frame commits nothing. To be asked of writes as they come.
  mutating func appendsUncommitted(at offset: Int64, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let last = uncommitted
    uncommitted = nil
    guard let header, written <= offset else { return false }
    if offset == chainEnd, bytes.count == WALFrame.headerBytes {
      if bytes.bigEndian(UInt32.self, at: 4) == 0 { uncommitted = offset }
      return true
    }
    return last == chainEnd && offset == chainEnd + Int64(WALFrame.headerBytes)
      && bytes.count == header.pageSize.bytes
  }

  /// Takes a write that is about to be made.
  ///
  /// - Parameter source: fills a buffer from the file as it is, without the write at hand; false
  ///   where the file is too short.
  /// - Returns: the transaction this write completes. Nothing of it counts as captured until
  ///   `commit`; if it cannot be logged, `abort` takes the write back.
  mutating func prepare(
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    scratch: UnsafeMutableRawBufferPointer,
    source: (Int64, UnsafeMutableRawBufferPointer) throws(StoreError) -> Bool
  ) throws(StoreError) -> Transaction? {
    if offset < Int64(WALHeader.bytes) {
      guard
        let raw = try view(
          0,
          WALHeader.bytes,
          offset,
          bytes,
          scratch: scratch,
          source: source
        )
      else {
        forget()
        return nil
      }
      restart(raw)
    }
    guard let header else { return nil }
    // A write below `captured` can only come from someone who ignores SQLite's locks. The captured
    // transaction is in the log; what such a writer does to its file shows when pages are verified.
    cutChain(at: max(offset, captured), header)
    let end = offset + Int64(bytes.count)
    written = max(written, end)
    let frameBytes = header.frameBytes
    while chainEnd + frameBytes <= written {
      let start = chainEnd
      guard start < end || start + frameBytes <= written else { break }
      guard
        let frame = try view(
          start,
          Int(frameBytes),
          offset,
          bytes,
          scratch: scratch,
          source: source
        )
      else { break }
      let head = UnsafeRawBufferPointer(rebasing: frame[0..<WALFrame.headerBytes])
      let content = UnsafeRawBufferPointer(rebasing: frame[WALFrame.headerBytes...])
      let parsed = WALFrame(head)
      guard parsed.follows(chainSum, in: header, header: head, content: content) else { break }
      chain.append(Link(page: parsed.page, sum: parsed.sum))
      if parsed.commit > 0 {
        return Transaction(
          pages: chain.map(\.page),
          offset: captured,
          end: chainEnd,
          commit: parsed.commit,
          header: header
        )
      }
    }
    return nil
  }

  /// The prepared transaction is in the log.
  mutating func commit() {
    captured = chainEnd
    capturedSum = chainSum
    chain.removeAll(keepingCapacity: true)
  }

  /// The write at `offset` was not made.
  mutating func abort(at offset: Int64) {
    guard let header else { return }
    // A header that did not come about: what the file has is told by the next one that does.
    guard offset >= Int64(WALHeader.bytes) else { return forget() }
    cutChain(at: max(offset, captured), header)
    written = min(written, max(offset, captured))
  }

  /// How far a log has been captured, to come back to.
  struct Mark {
    fileprivate(set) var header: WALHeader?
    fileprivate(set) var end: Int64
    fileprivate(set) var sum: WALSum
  }

  var mark: Mark { Mark(header: header, end: captured, sum: capturedSum) }

  /// The write at `offset`, which completed captured transactions, was not made: what was captured is
  /// what was before it.
  mutating func giveUp(at offset: Int64, backTo mark: Mark) {
    guard let header else { return }
    let isSame = mark.header == header
    captured = isSame ? mark.end : Int64(WALHeader.bytes)
    capturedSum = isSame ? mark.sum : header.sum
    chain.removeAll(keepingCapacity: true)
    written = max(captured, offset)
  }

  private mutating func restart(_ raw: UnsafeRawBufferPointer) {
    guard let header = WALHeader(raw) else {
      // Part of a header, or none: no frame is valid until a whole one is written.
      forget()
      return
    }
    if let old = self.header, old == header { return }
    adopt(header, end: Int64(WALHeader.bytes), sum: header.sum)
  }

  /// A range of the file as it will be after the write: a part of the write where that has all
  /// of it, otherwise pieced together in `scratch`.
  private func view(
    _ start: Int64,
    _ count: Int,
    _ offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    scratch: UnsafeMutableRawBufferPointer,
    source: (Int64, UnsafeMutableRawBufferPointer) throws(StoreError) -> Bool
  ) throws(StoreError) -> UnsafeRawBufferPointer? {
    let end = offset + Int64(bytes.count)
    if start >= offset, start + Int64(count) <= end {
      let from = Int(start - offset)
      return UnsafeRawBufferPointer(rebasing: bytes[from..<(from + count)])
    }
    let target = UnsafeMutableRawBufferPointer(rebasing: scratch[0..<count])
    let low = max(start, offset)
    let high = min(start + Int64(count), end)
    // Read only what the write does not bring: usually the 24 bytes of the frame's header.
    if low > start || high < low {
      let until = high < low ? count : Int(low - start)
      let part = UnsafeMutableRawBufferPointer(rebasing: target[0..<until])
      guard try source(start, part) else { return nil }
    }
    if high >= low, high < start + Int64(count) {
      let part = UnsafeMutableRawBufferPointer(rebasing: target[Int(high - start)...])
      guard try source(high, part) else { return nil }
    }
    if high > low {
      let part = UnsafeRawBufferPointer(
        rebasing: bytes[Int(low - offset)..<Int(high - offset)]
      )
      target[Int(low - start)..<Int(high - start)].copyBytes(from: part)
    }
    return UnsafeRawBufferPointer(target)
  }
}
