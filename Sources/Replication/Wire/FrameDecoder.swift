package import NIOCore
import Store

/// Cuts a stream of bytes into frames.
///
/// Holds at most one incomplete frame and what arrived with it; a length over the bound is refused
/// before the bytes are awaited. After an error the connection is of no use.
package struct FrameDecoder: Sendable {
  /// The longest payload accepted, in bytes; raised once the peer is admitted.
  package var maxPayload: Int
  private var buffer = ByteBuffer()

  package init(maxPayload: Int) { self.maxPayload = maxPayload }

  /// Bytes received and not yet part of a returned frame.
  package var pendingBytes: Int { buffer.readableBytes }

  package mutating func append(_ bytes: ByteBuffer) {
    if buffer.readableBytes == 0 {
      buffer = bytes
    } else {
      buffer.writeImmutableBuffer(bytes)
    }
  }

  /// The next complete frame; nil when more bytes are needed.
  package mutating func next() throws(ReplicationError) -> Frame? {
    guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self) else {
      return nil
    }
    guard length >= Frame.countedHeaderSize else {
      throw ReplicationError(.malformed, "A frame is shorter than its header (\(length) bytes).")
    }
    guard Int(length) - Frame.countedHeaderSize <= maxPayload else {
      throw ReplicationError(
        .malformed,
        "A frame of \(length) bytes exceeds the bound of \(maxPayload)."
      )
    }
    guard buffer.readableBytes >= 4 + Int(length) else {
      reserve(for: 4 + Int(length))
      return nil
    }
    buffer.moveReaderIndex(forwardBy: 4)
    let frame = try readFrame(length: length)
    if buffer.readableBytes == 0 {
      buffer.clear()
    } else {
      buffer.discardReadBytes(over: Self.compactionThreshold)
    }
    return frame
  }

  /// Bytes already consumed at the front of the buffer before they are worth a move of the rest.
  private static let compactionThreshold = 1 << 20
  /// Room is made for a frame once this much of it is there, so that a peer cannot make this node
  /// reserve 32 MiB with the first four bytes.
  private static let reservationStep = 1 << 20

  private mutating func reserve(for total: Int) {
    let wanted = min(total, buffer.readableBytes + Self.reservationStep)
    if buffer.readableBytes + buffer.writableBytes < wanted {
      buffer.discardReadBytes()
      buffer.reserveCapacity(minimumWritableBytes: wanted - buffer.readableBytes)
    }
  }

  private mutating func readFrame(length: UInt32) throws(ReplicationError) -> Frame {
    let payloadSize = Int(length) - Frame.countedHeaderSize
    guard let type = buffer.readInteger(as: UInt8.self),
      let term = buffer.readInteger(as: UInt64.self),
      let stored = buffer.readInteger(as: UInt64.self),
      let payload = buffer.readSlice(length: payloadSize)
    else { throw ReplicationError(.malformed, "A frame ends early.") }
    var checksum = FrameChecksum(length: length, type: type, term: term)
    checksum.update(payload)
    guard checksum.value == stored else {
      throw ReplicationError(
        .malformed,
        "The checksum of a frame does not match: its bytes were changed on the way."
      )
    }
    guard let kind = Message.Kind(rawValue: type) else {
      throw ReplicationError(.malformed, "A frame has the unknown type \(type).")
    }
    guard term <= WireReader.maxNumber else {
      throw ReplicationError(.malformed, "A frame has a term beyond the range of terms.")
    }
    var reader = WireReader(payload)
    let message = try Message(kind, from: &reader)
    try reader.finish()
    return Frame(term: Term(term), message: message)
  }
}

extension ByteBuffer {
  fileprivate mutating func discardReadBytes(over threshold: Int) {
    if readerIndex > threshold { discardReadBytes() }
  }
}
