import LTX
import Synchronization

// Entries are written as they come, since a commit waits for that. Once a segment is full, it is written
// anew with its entries packed, and takes the place of the old one under the same name when it is durable. So a
// crash leaves one or the other.

extension Log {
  /// Packs the segments that are full and have not been packed yet. Blocks.
  ///
  /// - Returns: whether there were any.
  /// - Throws: when the disk refuses. The segment is then as it was.
  @discardableResult
  package func packClosed() throws(StoreError) -> Bool {
    var hasPacked = false
    while let segment = state.withLock({ $0.segments.dropLast().first { !$0.isPacked } }) {
      try pack(segment)
      hasPacked = true
    }
    return hasPacked
  }

  private func pack(_ segment: Segment) throws(StoreError) {
    let temporary = segment.path + Segment.temporarySuffix
    var isDone = false
    defer { if !isDone { try? disk.remove(temporary) } }
    let file = try disk.open(temporary, [.write, .create, .truncate])
    var packed = segment
    packed.file = file
    packed.isPacked = true
    packed.room = 0
    if try copy(segment, into: &packed), packed.end < segment.end {
      try file.sync()
    } else {
      // There is nothing to gain, or it is damaged, which is told where it is read.
      packed = segment
      packed.isPacked = true
    }
    let result: Result<Void, StoreError> = state.withLock { state in
      // It may have been removed or cut meanwhile.
      guard
        let place = state.segments.dropLast().firstIndex(where: {
          $0.first == segment.first && $0.end == segment.end
        })
      else { return .success(()) }
      do throws(StoreError) {
        if packed.end < segment.end {
          try disk.rename(temporary, to: segment.path)
          isDone = true
        }
        state.segments[place] = packed
        state.replaced &+= 1
        return .success(())
      } catch { return .failure(error) }
    }
    try result.get()
    if isDone { try disk.syncDirectory(directory) }
  }

  /// Copies header and entries of a segment.
  ///
  /// - Returns: false when it is damaged.
  private func copy(_ segment: Segment, into packed: inout Segment) throws(StoreError) -> Bool {
    let head = try segment.file.readBytes(SegmentHeader.maxBytes, at: 0)
    guard let (found, length) = SegmentHeader.decode(head) else { return false }
    var header = found
    header.isPacked = true
    try packed.file.writeAll(header.encoded(), at: 0)
    packed.end = Int64(length)
    packed.offsets = []
    packed.last = LogIndex(segment.first.rawValue &- 1)
    var packer = LogPacker()
    var output: [UInt8] = []
    var offset = Int64(length)
    while offset < segment.end {
      let room = min(Int64(LogFormat.maxEntryBytes), segment.end - offset)
      let bytes = try segment.file.readBytes(Int(room), at: offset)
      output.removeAll(keepingCapacity: true)
      let taken = bytes.withUnsafeBytes { raw in
        var taken = 0
        while taken < raw.count {
          let start = output.count
          let rest = UnsafeRawBufferPointer(rebasing: raw[taken...])
          guard let length = packer.packFirst(rest, into: &output) else { break }
          packed.last = packed.last.next
          packed.note(packed.last, at: packed.end + Int64(start))
          taken += length
        }
        return taken
      }
      guard taken > 0 else { return false }
      try packed.file.writeAll(output, at: packed.end)
      packed.end += Int64(output.count)
      offset += Int64(taken)
    }
    return packed.last == segment.last
  }
}
