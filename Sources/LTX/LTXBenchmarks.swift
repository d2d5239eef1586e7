/// How fast this machine sums, writes and reads transactions; `make bench` prints it.
package enum LTXBenchmarks {
  package struct Figure: Sendable {
    package var name: String
    /// Transactions or blocks a second.
    package var rate: Double
    /// Bytes of pages a second.
    package var throughput: Double
  }

  /// The page size of all figures: SQLite's default, in bytes.
  package static let pageSize = 4_096

  /// All figures, each the best of three rounds of about `rounds` operations.
  package static func run(rounds: Int = 20_000) throws(LTXError) -> [Figure] {
    let page = samplePage()
    var figures = [measure("CRC-64 of a page", rounds) { sumPages(page, rounds) }]
    for (name, compression) in [("LZ4", LTXCompression.fast), ("stored", .none)] {
      var file: [UInt8] = []
      var failure: LTXError?
      figures.append(
        measure("write one page, \(name)", rounds) {
          do throws(LTXError) {
            file = try write(page, compression, rounds)
          } catch { failure = error }
        }
      )
      figures.append(
        measure("read one page, \(name)", rounds) {
          do throws(LTXError) { try read(file, rounds) } catch { failure = error }
        }
      )
      if let failure { throw failure }
    }
    return figures
  }

  private static func measure(_ name: String, _ rounds: Int, _ body: () -> Void) -> Figure {
    let clock = ContinuousClock()
    let best = (0..<3).map { _ in clock.measure(body) }.min() ?? .seconds(1)
    let rate = Double(rounds) / max(best / .seconds(1), 1e-9)
    return Figure(name: name, rate: rate, throughput: rate * Double(pageSize))
  }

  /// Half of it compresses, as in a table's leaf.
  private static func samplePage() -> [UInt8] {
    var value: UInt32 = 1
    return (0..<pageSize).map { i in
      value = value &* 1_664_525 &+ 1_013_904_223
      return i % 64 < 32 ? UInt8(truncatingIfNeeded: value >> 24) : UInt8(i % 64)
    }
  }

  private static func sumPages(_ page: [UInt8], _ rounds: Int) {
    var sum = Checksum.empty
    page.withUnsafeBytes { bytes in
      for i in 0..<rounds {
        sum = sum.toggling(.page(PageNumber(UInt32(truncatingIfNeeded: i)), bytes))
      }
    }
    precondition(sum != .none, "a checksum has its flag")
  }

  private static func write(
    _ page: [UInt8],
    _ compression: LTXCompression,
    _ rounds: Int
  ) throws(LTXError) -> [UInt8] {
    guard let size = PageSize(bytes: pageSize) else { return [] }
    var header = LTXHeader(
      pageSize: size,
      commit: 1_000,
      minTXID: TXID(2),
      maxTXID: TXID(2),
      timestamp: 0,
      preApply: .empty
    )
    var encoder = try LTXEncoder(header: header, compression: compression)
    for i in 0..<rounds {
      header.minTXID = TXID(UInt64(i + 2))
      header.maxTXID = header.minTXID
      try encoder.reset(header: header)
      let sum = try page.withUnsafeBytes { bytes in
        Result { () throws(LTXError) in try encoder.append(PageNumber(7), bytes) }
      }.get()
      try encoder.finish(postApply: sum)
    }
    return encoder.takeOutput()
  }

  private static func read(_ file: [UInt8], _ rounds: Int) throws(LTXError) {
    var decoder = try LTXDecoder(LTXBytes(file), encoding: .v3)
    var page = [UInt8](repeating: 0, count: pageSize)
    for _ in 0..<rounds {
      try decoder.restart(LTXBytes(file), encoding: .v3)
      var isAtEnd = false
      while !isAtEnd {
        isAtEnd = try page.withUnsafeMutableBytes { page in
          Result { () throws(LTXError) in try decoder.next(into: page) == nil }
        }.get()
      }
    }
  }
}
