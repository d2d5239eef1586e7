import LTX
import NIOCore
package import Store

/// How far a replica is.
package struct Acknowledgement: Hashable, Sendable {
  package var progress: ReplicaProgress
  /// Bytes of snapshot pages taken in since the connection began: what the primary may send on.
  package var snapshotBytes: UInt64

  package init(progress: ReplicaProgress, snapshotBytes: UInt64) {
    self.progress = progress
    self.snapshotBytes = snapshotBytes
  }
}

/// A sign of life, sent by both sides when nothing else was.
package struct Heartbeat: Hashable, Sendable {
  /// The last entry of the sender's log.
  package var last: LogIndex
  /// The sender's wall clock, in milliseconds since 1970.
  package var wallClock: UInt64
  /// The sender's monotonic clock, in nanoseconds since an arbitrary point.
  package var stamp: UInt64
  /// The latest stamp received from the other side, zero for none: gives it the round trip.
  package var echo: UInt64

  package init(last: LogIndex, wallClock: UInt64, stamp: UInt64, echo: UInt64) {
    self.last = last
    self.wallClock = wallClock
    self.stamp = stamp
    self.echo = echo
  }
}

extension LogBatch {
  /// Bytes of the encoding before the entries.
  static let headerSize = 24

  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(first.rawValue)
    buffer.writeInteger(last.rawValue)
    buffer.writeInteger(commit.rawValue)
    buffer.writeBytes(bytes)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let first = try reader.index()
    let last = try reader.index()
    let commit = try reader.index()
    // Each entry takes at least a byte; how much more is for the store to check. Without entries it says what is
    // committed.
    let isEmpty = first.rawValue == last.rawValue &+ 1 && reader.remaining == 0
    guard first > .zero,
      isEmpty || first <= last && last.rawValue - first.rawValue < UInt64(reader.remaining)
    else { throw ReplicationError(.malformed, "A batch of entries has an impossible range.") }
    self.init(first: first, last: last, bytes: try reader.bytes(reader.remaining), commit: commit)
  }
}

extension Acknowledgement {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(progress.received.rawValue)
    buffer.writeInteger(progress.durable.rawValue)
    buffer.writeInteger(progress.applied.rawValue)
    buffer.writeInteger(UInt32(clamping: progress.repairing))
    buffer.writeInteger(snapshotBytes)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let received = try reader.index()
    let durable = try reader.index()
    let applied = try reader.index()
    let repairing = try reader.integer(UInt32.self)
    self.init(
      progress: ReplicaProgress(
        received: received,
        durable: durable,
        applied: applied,
        repairing: Int(repairing)
      ),
      snapshotBytes: try reader.integer()
    )
  }
}

extension Heartbeat {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(last.rawValue)
    buffer.writeInteger(wallClock)
    buffer.writeInteger(stamp)
    buffer.writeInteger(echo)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let last = try reader.index()
    let wallClock = try reader.integer(UInt64.self)
    let stamp = try reader.integer(UInt64.self)
    self.init(last: last, wallClock: wallClock, stamp: stamp, echo: try reader.integer())
  }
}
