import LTX
import Synchronization

// A sync of an entry that makes its file longer writes the entry and then the file system's journal; of one
// that overwrites bytes which are on the disk already, the entry alone: some 85 µs instead of 130 on ext4.
// So where commits are synced one by one, zeros are written ahead of them, many commits' worth at once.
// Zeros are no entry: opening takes them for a torn end and cuts them off.

extension Log {
  /// Zeros written at once, in bytes.
  private static let room = 128 << 10
  /// Bytes appended between two syncs up to which commits are taken to be synced one by one.
  private static let fewBytes: Int64 = 32 << 10
  private static let zeros = [UInt8](repeating: 0, count: room)

  /// Writes zeros behind the last entry where commits are synced one by one and there is little room
  /// left; called after a sync.
  func makeRoom() {
    state.withLock { state in
      guard state.keepsRoom, state.failed == nil, let active = state.segments.indices.last else {
        return
      }
      let end = state.segments[active].end
      let appended = end - state.segments[active].syncedEnd
      state.segments[active].syncedEnd = end
      guard appended <= Self.fewBytes, end < segmentBytes,
        state.segments[active].room - end < Self.fewBytes
      else { return }
      let from = max(end, state.segments[active].room)
      do throws(StoreError) {
        try state.segments[active].file.writeAll(Self.zeros, at: from)
        state.segments[active].room = from + Int64(Self.room)
      } catch {
        // A full disk: what is left of it is for entries and for applications.
        state.keepsRoom = false
        state.segments[active].room = .max
        removeRoom(&state.segments[active])
      }
    }
  }

  /// Ends the files with their last entries, and leaves it at that: the node stops.
  package func close() {
    state.withLock { state in
      state.keepsRoom = false
      guard state.failed == nil, let active = state.segments.indices.last else { return }
      removeRoom(&state.segments[active])
    }
  }

  private func removeRoom(_ segment: inout Segment) {
    guard segment.room > segment.end else { return }
    // If this fails, zeros stay behind the last entry, where they do no harm until the segment is full.
    if (try? segment.file.truncate(to: segment.end)) != nil { segment.room = 0 }
  }
}
