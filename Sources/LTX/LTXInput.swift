/// A source with a buffer before it, so that structures can be looked at before they are taken.
struct LTXInput<Source: LTXByteSource> {
  private var source: Source
  private var buffer: [UInt8]
  private var start = 0
  private var end = 0
  private var isAtEnd = false
  /// Where in the file the next byte stands.
  private(set) var offset: UInt64 = 0

  /// - Parameter capacity: the most bytes that will ever be asked for at once.
  init(_ source: Source, capacity: Int) {
    self.source = source
    buffer = [UInt8](repeating: 0, count: capacity)
  }

  /// Goes on with another source from its beginning, in the same buffer.
  mutating func restart(_ source: Source) {
    self.source = source
    start = 0
    end = 0
    isAtEnd = false
    offset = 0
  }

  /// Makes the buffer larger where it is too small.
  mutating func reserve(_ capacity: Int) {
    guard capacity > buffer.count else { return }
    buffer.append(contentsOf: repeatElement(0, count: capacity - buffer.count))
  }

  /// Buffers up to `count` bytes; how many there are, fewer only at the end.
  mutating func peek(_ count: Int) throws(LTXError) -> Int {
    precondition(count <= buffer.count, "a decoder asks for no more than it reserved")
    while end - start < count, !isAtEnd { try fill() }
    return min(count, end - start)
  }

  /// Buffers at least one byte and all that is at hand; 0 at the end.
  mutating func peekAny() throws(LTXError) -> Int {
    if start == end, !isAtEnd { try fill() }
    return end - start
  }

  /// Buffers `count` bytes or says that the file is too short.
  mutating func require(_ count: Int, for what: @autoclosure () -> String) throws(LTXError) {
    guard try peek(count) == count else {
      throw LTXError(
        .truncated,
        "the file ends at byte \(offset + UInt64(end - start)), within \(what())"
      )
    }
  }

  /// The buffered bytes.
  func withBuffered<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    buffer.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
  }

  /// A number from the buffered bytes.
  func number<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type,
    at offset: Int
  ) -> Number {
    withBuffered { $0.bigEndian(type, at: offset) }
  }

  /// Takes buffered bytes.
  mutating func skip(_ count: Int) {
    precondition(count <= end - start, "only what is buffered can be skipped")
    start += count
    offset += UInt64(count)
  }

  /// Takes bytes out of the file until the target is full.
  mutating func read(
    into target: UnsafeMutableRawBufferPointer,
    for what: @autoclosure () -> String
  ) throws(LTXError) {
    var done = 0
    while done < target.count {
      guard try peekAny() > 0 else {
        throw LTXError(.truncated, "the file ends at byte \(offset), within \(what())")
      }
      let count = withBuffered { buffered in
        let count = min(buffered.count, target.count - done)
        UnsafeMutableRawBufferPointer(rebasing: target[done..<done + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: buffered[..<count]))
        return count
      }
      skip(count)
      done += count
    }
  }

  /// Reads once from the source.
  private mutating func fill() throws(LTXError) {
    // The buffer leaves `self` while the source, also part of `self`, writes into it.
    var buffer: [UInt8] = []
    swap(&buffer, &self.buffer)
    defer { swap(&buffer, &self.buffer) }
    let kept = start..<end
    if start > 0 {
      buffer.withUnsafeMutableBytes { bytes in
        UnsafeMutableRawBufferPointer(rebasing: bytes[..<kept.count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[kept]))
      }
      start = 0
      end = kept.count
    }
    let count: Int
    do {
      count = try buffer.withUnsafeMutableBytes {
        try source.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[kept.count...]))
      }
    } catch {
      throw LTXError(
        .unreadable,
        "the file could not be read after byte \(offset + UInt64(end))",
        cause: error
      )
    }
    precondition(count >= 0 && count <= buffer.count - end, "a source reads into its buffer")
    isAtEnd = count == 0
    end += count
  }
}
