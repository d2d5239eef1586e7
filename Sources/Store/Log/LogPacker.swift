import LTX

/// Makes entries smaller, with LZ4.
///
/// A commit does not wait for that: it puts pages into the log as they are. They are packed on their way
/// to a replica (`ServerConnection`), and in segments that are full (`Log.packClosed`). An entry stays
/// the same entry: term, index, and what it does.
package struct LogPacker: Sendable {
  /// Bytes of a payload below which packing is not tried.
  static let leastBytes = 256
  /// The part of the payload that packing must save, or it is left as it is.
  static let leastSaving = 8
  /// Bytes of the length before the block.
  static let prefixBytes = 4

  private var compressor = LZ4Compressor(bytes: LogFormat.stageBytes)

  package init() {}

  /// The same entries, packed where that saves something.
  package mutating func pack(_ batch: LogBatch) -> LogBatch {
    var output: [UInt8] = []
    output.reserveCapacity(batch.bytes.count)
    let isWhole = batch.bytes.withUnsafeBytes { raw in
      var rest = raw[...]
      while !rest.isEmpty {
        guard let length = packFirst(UnsafeRawBufferPointer(rebasing: rest), into: &output) else {
          return false
        }
        rest = rest.dropFirst(length)
      }
      return true
    }
    // What is damaged is not made to look intact: whoever gets it will say so.
    guard isWhole else { return batch }
    var packed = batch
    packed.bytes = output
    return packed
  }

  /// Appends the entry at the beginning of `bytes` to `output`, packed if that saves something.
  ///
  /// - Returns: its length in `bytes`; nil when there is no intact entry.
  mutating func packFirst(_ bytes: UnsafeRawBufferPointer, into output: inout [UInt8]) -> Int? {
    guard let header = LogEntryHeader(bytes), header.isIntact(bytes) else { return nil }
    if !packPayload(header, bytes, into: &output) {
      output.append(contentsOf: bytes[..<header.length])
    }
    return header.length
  }

  private mutating func packPayload(
    _ header: LogEntryHeader,
    _ bytes: UnsafeRawBufferPointer,
    into output: inout [UInt8]
  ) -> Bool {
    let payload = UnsafeRawBufferPointer(
      rebasing: bytes[header.payloadStart..<header.payloadEnd]
    )
    guard header.kind.isPackable, !header.isPacked, payload.count >= Self.leastBytes else {
      return false
    }
    let most = payload.count - payload.count / Self.leastSaving
    return compressor.compress(payload) { block in
      let length = Self.prefixBytes + block.count
      guard length <= most else { return false }
      let start = output.count
      output.appendBigEndian(UInt32(header.length - payload.count + length))
      output.append(contentsOf: bytes[4..<6])
      output.appendBigEndian(LogFormat.packed)
      output.append(contentsOf: bytes[8..<header.payloadStart])
      output.appendBigEndian(UInt32(payload.count))
      output.append(contentsOf: block)
      var crc = CRC64()
      output.withUnsafeBytes { crc.update(UnsafeRawBufferPointer(rebasing: $0[start...])) }
      output.appendBigEndian(crc.value)
      return true
    } ?? false
  }

  /// The payload of a packed entry; nil where it is not one.
  static func unpack(_ packed: Slice<UnsafeRawBufferPointer>) -> [UInt8]? {
    let packed = UnsafeRawBufferPointer(rebasing: packed)
    guard packed.count > prefixBytes else { return nil }
    let count = Int(packed.bigEndian(UInt32.self, at: 0))
    guard (1...LogFormat.maxEntryBytes).contains(count) else { return nil }
    var isWhole = false
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      isWhole = LZ4Block.decompress(
        UnsafeRawBufferPointer(rebasing: packed[prefixBytes...]),
        into: UnsafeMutableRawBufferPointer(buffer)
      )
      initialized = isWhole ? count : 0
    }
    return isWhole ? bytes : nil
  }
}
