/// How a message is folded into the register.
///
/// Write P for the polynomial, so that modulo P: x⁶⁴ = x⁴ + x³ + x + 1 = (x + 1)(x³ + 1). Squaring
/// over GF(2) doubles every exponent, hence also
///
///     x⁵¹²  = x³² + x²⁴ + x⁸ + 1          = (x⁸ + 1)(x²⁴ + 1)
///     x⁴⁰⁹⁶ = x²⁵⁶ + x¹⁹² + x⁶⁴ + 1
///
/// * The second identity moves whole 64-bit words: word k of the message can be taken away if it is
///   added to the words k+60, k+61, k+63 and k+64. Long messages are shortened so to their last 64
///   words, at five loads and four exclusive ors a word and without a shift (`foldLong`).
/// * The first folds eight words at a time (`foldBlocks`): each is multiplied by x⁵¹², that is,
///   shifted; what is shifted out has degree below 32 and comes back multiplied by x⁶⁴.
/// * Single words and the last bytes are multiplied by x⁶⁴ or x⁸ⁿ directly.
///
/// The kernels are written with plain words, which the optimiser turns into vectors; explicit SIMD
/// types were as fast in release builds, and thirty times slower in debug builds.
extension CRC64 {
  /// From this many bytes on the words of `foldLong` pay for their set-up.
  private static let longMessage = 1_024
  private static let windowWords = 64
  private static let windowBytes = 512
  private static let blockBytes = 64

  static func fold(_ register: UInt64, _ start: UnsafeRawPointer, _ count: Int) -> UInt64 {
    var register = register
    var next = start
    var left = count
    if left >= longMessage {
      let whole = left / windowBytes
      register = foldLong(register, next, windows: whole)
      next += whole * windowBytes
      left -= whole * windowBytes
    }
    if left >= blockBytes {
      let whole = left / blockBytes
      register = foldBlocks(register, next, blocks: whole)
      next += whole * blockBytes
      left -= whole * blockBytes
    }
    while left >= 8 {
      register = timesX64(register ^ load(next, 0))
      next += 8
      left -= 8
    }
    if left > 0 {
      var word: UInt64 = 0
      for i in 0..<left {
        word |= UInt64(next.load(fromByteOffset: i, as: UInt8.self)) << UInt64(8 * i)
      }
      register = appendLow(register, word, bytes: left)
    }
    return register
  }

  /// Folds at least one window of 512 bytes.
  ///
  /// Two windows lie side by side and change roles: a word of the new one is the message's word
  /// plus four words that stand 60 to 64 places before it, mostly in the old one.
  private static func foldLong(
    _ register: UInt64,
    _ start: UnsafeRawPointer,
    windows: Int
  ) -> UInt64 {
    // 1 KiB: the most that the standard library is sure to take from the stack.
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 * windowWords) { scratch in
      guard var old = scratch.baseAddress else { return register }
      var new = old + windowWords
      for i in 0..<windowWords {
        (old + i).initialize(to: load(start, 8 * i))
      }
      old[0] ^= register
      addEdge(old)
      var message = start + windowBytes
      var left = windows - 1
      while left > 0 {
        foldWindow(old, new, message)
        swap(&old, &new)
        message += windowBytes
        left &-= 1
      }
      // The last window stays, so its first words must not have been added to its last.
      addEdge(old)
      return foldBlocks(0, UnsafeRawPointer(old), blocks: windowBytes / blockBytes)
    }
  }

  @inline(__always)
  private static func foldWindow(
    _ old: UnsafeMutablePointer<UInt64>,
    _ new: UnsafeMutablePointer<UInt64>,
    _ message: UnsafeRawPointer
  ) {
    var from = old
    var to = new
    var source = message
    var left = 15
    while left > 0 {
      let a = load(source, 0) ^ from[4] ^ from[3] ^ from[1] ^ from[0]
      let b = load(source, 8) ^ from[5] ^ from[4] ^ from[2] ^ from[1]
      let c = load(source, 16) ^ from[6] ^ from[5] ^ from[3] ^ from[2]
      let d = load(source, 24) ^ from[7] ^ from[6] ^ from[4] ^ from[3]
      to[0] = a
      to[1] = b
      to[2] = c
      to[3] = d
      from += 4
      to += 4
      source += 32
      left &-= 1
    }
    to[0] = load(source, 0) ^ from[3] ^ from[1] ^ from[0]
    to[1] = load(source, 8) ^ from[2] ^ from[1]
    to[2] = load(source, 16) ^ from[3] ^ from[2]
    to[3] = load(source, 24) ^ from[3]
    addEdge(new)
  }

  /// Adds a window's first words to its last: the part of the recurrence that does not leave it.
  @inline(__always)
  private static func addEdge(_ window: UnsafeMutablePointer<UInt64>) {
    window[60] ^= window[0]
    window[61] ^= window[1] ^ window[0]
    window[62] ^= window[2] ^ window[1]
    window[63] ^= window[3] ^ window[2] ^ window[0]
  }

  /// Folds at least one block of 64 bytes.
  private static func foldBlocks(
    _ register: UInt64,
    _ start: UnsafeRawPointer,
    blocks: Int
  ) -> UInt64 {
    var a = load(start, 0) ^ register
    var b = load(start, 8)
    var c = load(start, 16)
    var d = load(start, 24)
    var e = load(start, 32)
    var f = load(start, 40)
    var g = load(start, 48)
    var h = load(start, 56)
    var next = start + blockBytes
    var left = blocks - 1
    while left > 0 {
      a = timesX512(a) ^ load(next, 0)
      b = timesX512(b) ^ load(next, 8)
      c = timesX512(c) ^ load(next, 16)
      d = timesX512(d) ^ load(next, 24)
      e = timesX512(e) ^ load(next, 32)
      f = timesX512(f) ^ load(next, 40)
      g = timesX512(g) ^ load(next, 48)
      h = timesX512(h) ^ load(next, 56)
      next += blockBytes
      left &-= 1
    }
    var result = timesX64(a)
    result = timesX64(result ^ b)
    result = timesX64(result ^ c)
    result = timesX64(result ^ d)
    result = timesX64(result ^ e)
    result = timesX64(result ^ f)
    result = timesX64(result ^ g)
    return timesX64(result ^ h)
  }

  @inline(__always)
  private static func load(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// What was shifted out (degree below 60), multiplied by x⁶⁴ = (x + 1)(x³ + 1).
  @inline(__always)
  private static func wrap(_ overflow: UInt64) -> UInt64 {
    let once = overflow ^ (overflow &>> 1)
    return once ^ (once &>> 3)
  }

  /// Multiplies by x⁵¹² = (x⁸ + 1)(x²⁴ + 1).
  @inline(__always)
  private static func timesX512(_ value: UInt64) -> UInt64 {
    let first = value ^ (value &>> 8)
    let second = first ^ (first &>> 24)
    let out = value &<< 56
    return second ^ wrap(out ^ (out &>> 24) ^ (first &<< 40))
  }

  /// Multiplies by x⁶⁴ = (x + 1)(x³ + 1).
  @inline(__always)
  static func timesX64(_ value: UInt64) -> UInt64 {
    wrap(value) ^ wrap((value &<< 63) ^ (value &<< 61) ^ (value &<< 60))
  }

  /// Appends one to seven bytes, the first of them lowest in `word`.
  static func appendLow(_ register: UInt64, _ word: UInt64, bytes: Int) -> UInt64 {
    let value = register ^ word
    let bits = UInt64(8 * bytes)
    return (value &>> bits) ^ wrap(value &<< (64 &- bits))
  }
}
