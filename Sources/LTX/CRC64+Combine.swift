extension CRC64 {
  /// The checksum of A followed by B, from the checksums of both and the length of B in bytes.
  package static func combine(_ crcA: UInt64, _ crcB: UInt64, lengthB: Int) -> UInt64 {
    multiply(crcA, powerOfX8(lengthB)) ^ crcB
  }

  /// Multiplication by x⁸ⁿ for a fixed number n of bytes: what appending n bytes does to a register.
  ///
  /// Making one costs about as much as the checksum of a page, applying it sixteen loads from a
  /// table of 2 KiB.
  package struct Distance: Sendable {
    /// Products of the sixteen values of each of the sixteen groups of four bits.
    private let products: [UInt64]

    /// - Parameter bytes: not negative.
    package init(bytes: Int) {
      // The factor times x⁰, x¹ … x⁶³; bit 63 of a register stands for x⁰.
      var powers = [UInt64](repeating: 0, count: 64)
      var power = powerOfX8(bytes)
      for bit in stride(from: 63, through: 0, by: -1) {
        powers[bit] = power
        power = timesX(power)
      }
      products = (0..<256).map { entry in
        var product: UInt64 = 0
        for bit in 0..<4 where (entry >> bit) & 1 == 1 {
          product ^= powers[(entry >> 4) * 4 + bit]
        }
        return product
      }
    }

    /// For each page size, the smallest first.
    private static let ofPages = (9...16).map { Distance(bytes: 1 << $0) }

    /// That of a page, made once.
    package static func page(_ size: PageSize) -> Distance {
      ofPages[size.bytes.trailingZeroBitCount - 9]
    }

    func multiply(_ value: UInt64) -> UInt64 {
      products.withUnsafeBufferPointer { products in
        var result: UInt64 = 0
        for group in 0..<16 {
          result ^= products[group &* 16 &+ Int((value &>> UInt64(group &* 4)) & 15)]
        }
        return result
      }
    }
  }

  /// x⁸ⁿ modulo the polynomial, by repeated squaring.
  private static func powerOfX8(_ bytes: Int) -> UInt64 {
    precondition(bytes >= 0, "a length is never negative")
    var result: UInt64 = 1 << 63
    var square: UInt64 = 1 << (63 - 8)
    var left = bytes
    while left > 0 {
      if left & 1 == 1 { result = multiply(result, square) }
      square = multiply(square, square)
      left >>= 1
    }
    return result
  }

  private static func multiply(_ a: UInt64, _ b: UInt64) -> UInt64 {
    var result: UInt64 = 0
    var power = a
    for bit in stride(from: UInt64(63), through: 0, by: -1) {
      if (b &>> bit) & 1 == 1 { result ^= power }
      power = timesX(power)
    }
    return result
  }

  private static func timesX(_ value: UInt64) -> UInt64 {
    (value >> 1) ^ (value & 1 == 1 ? 0xD800_0000_0000_0000 : 0)
  }
}
