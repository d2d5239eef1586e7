import Foundation

/// Random numbers from a seed (SplitMix64), so that a finding can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Makes inputs out of others: what libFuzzer does, without its knowledge of the branches taken.
struct Mutator {
  private var random: SeededGenerator
  private let corpus: [[UInt8]]
  private let maxBytes: Int

  /// Numbers at which arithmetic goes wrong.
  private static let edges: [UInt64] = [
    0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000,
    0xffff_ffff, 1 << 62, (1 << 62) + 1, .max >> 1, 1 << 63, .max - 1, .max,
  ]

  init(corpus: [[UInt8]], maxBytes: Int, seed: UInt64) {
    self.corpus = corpus.isEmpty ? [[]] : corpus
    self.maxBytes = maxBytes
    random = SeededGenerator(seed: seed)
  }

  mutating func next() -> [UInt8] {
    var bytes = corpus[below(corpus.count)]
    // Mostly few changes: many at once only fail the first check.
    for _ in 0...min(below(4), below(6)) { change(&bytes) }
    return Array(bytes.prefix(maxBytes))
  }

  private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }

  private mutating func change(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return insert(&bytes) }
    let at = below(bytes.count)
    switch below(9) {
    case 0: bytes[at] ^= 1 << UInt8(below(8))
    case 1: bytes[at] = UInt8(below(256))
    case 2: bytes[at] &+= UInt8(truncatingIfNeeded: below(9) - 4)
    case 3: bytes.removeSubrange(at..<min(bytes.count, at + 1 + below(16)))
    case 4: bytes.removeLast(below(bytes.count + 1))
    case 5: insert(&bytes)
    case 6: putEdge(&bytes, at)
    case 7: copyPart(of: bytes, into: &bytes)
    default: copyPart(of: corpus[below(corpus.count)], into: &bytes)
    }
  }

  private mutating func insert(_ bytes: inout [UInt8]) {
    let fill = UInt8(below(256))
    let new = (0..<(1 + below(12))).map { _ in below(2) == 0 ? fill : UInt8(below(256)) }
    bytes.insert(contentsOf: new, at: below(bytes.count + 1))
  }

  /// A number of one to eight bytes, in either order.
  private mutating func putEdge(_ bytes: inout [UInt8], _ at: Int) {
    let width = 1 << below(4)
    let value = Self.edges[below(Self.edges.count)]
    let isLittle = below(4) == 0
    for place in 0..<width where at + place < bytes.count {
      let shift = 8 * (isLittle ? place : width - 1 - place)
      bytes[at + place] = UInt8(truncatingIfNeeded: value >> UInt64(shift))
    }
  }

  private mutating func copyPart(of source: [UInt8], into bytes: inout [UInt8]) {
    guard !source.isEmpty else { return }
    let start = below(source.count)
    let part = source[start..<min(source.count, start + 1 + below(64))]
    let at = below(bytes.count + 1)
    if below(2) == 0 {
      bytes.insert(contentsOf: part, at: at)
    } else {
      bytes.replaceSubrange(at..<min(bytes.count, at + part.count), with: part)
    }
  }
}
