package import NIOCore
package import Store

/// What two nodes say to each other: a message under the sender's term.
///
/// A connection carries frames in both directions, one after the other without a gap. All integers
/// are big-endian.
///
///     offset  size  field
///          0     4  length   bytes after this field: 17 + the payload's
///          4     1  type     see `Message.Kind`
///          5     8  term     the sender's; a receiver that knows a higher one refuses the frame
///         13     8  checksum of length, type, term and payload; see `FrameChecksum`
///         21     -  payload  one message
///
/// TLS already protects the bytes. The checksum is for what TLS does not cover: plain text on
/// loopback, and faults in a node's own memory. It detects every change within one word of eight
/// bytes, so every flipped bit.
///
/// The first frame of the connecting side is `hello`, which opens with a magic number and the range
/// of versions spoken; the answer is `welcome` with the version and the features to use, or
/// `refusal`. Between voters they are `peerHello` and `peerWelcome`; the frames of such a connection have
/// the term zero, as what it carries has terms of its own. A frame of unknown type is an error: what a peer may send follows from the features.
package struct Frame: Sendable {
  package var term: Term
  package var message: Message

  package init(term: Term, message: Message) {
    self.term = term
    self.message = message
  }

  /// Bytes before the payload.
  package static let headerSize = 21
  /// Bytes of the header that `length` counts.
  static let countedHeaderSize = 17

  /// The longest payload between nodes that know each other: 32 MiB. An entry of the log is at most
  /// a few MiB long because larger transactions are staged in chunks, so this only guards memory.
  package static let maxPayload = 32 << 20
  /// The longest payload from a peer that has not been admitted yet, 64 KiB: a `hello` with the
  /// most term starts takes a quarter of it.
  package static let maxHelloPayload = 64 << 10

  /// The longest payload from a replica, 2 MiB: a transaction that it appends is a little over 1 MiB
  /// at most, see `WireLimit.appended`.
  package static let maxRequestPayload = 2 << 20

  /// The longest payload between voters: everything else that they say is shorter than a message.
  package static let maxPeerPayload = WireLimit.peerMessage

  /// Appends the frame to `buffer`.
  package func encode(into buffer: inout ByteBuffer) {
    let start = buffer.writerIndex
    buffer.writeRepeatingByte(0, count: Self.headerSize)
    message.encodePayload(into: &buffer)
    let payloadSize = buffer.writerIndex - start - Self.headerSize
    precondition(payloadSize <= Self.maxPayload, "a message exceeds the bound of its own format")
    let length = UInt32(Self.countedHeaderSize + payloadSize)
    let type = message.kind.rawValue
    var checksum = FrameChecksum(length: length, type: type, term: term.rawValue)
    if let payload = buffer.getSlice(at: start + Self.headerSize, length: payloadSize) {
      checksum.update(payload)
    }
    buffer.setInteger(length, at: start)
    buffer.setInteger(type, at: start + 4)
    buffer.setInteger(term.rawValue, at: start + 5)
    buffer.setInteger(checksum.value, at: start + 13)
  }
}
