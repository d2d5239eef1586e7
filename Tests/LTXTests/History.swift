import LTX
import Testing

/// A database and the LTX files that made it, for comparing with what is under test.
struct History {
  /// The pages before the first transaction, after it, after the second …
  private(set) var states: [[[UInt8]]] = [[]]
  private(set) var files: [[UInt8]] = []

  private let pageSize: Int
  private let hasChecksums: Bool

  init(pageSize: Int, hasChecksums: Bool = true) {
    self.pageSize = pageSize
    self.hasChecksums = hasChecksums
  }

  init(_ random: inout SeededRandom, hasChecksums: Bool) {
    self.init(pageSize: 512 << random.below(2), hasChecksums: hasChecksums)
  }

  static func checksum(_ pages: [[UInt8]]) -> Checksum {
    var sum = Checksum.empty
    for (i, page) in pages.enumerated() {
      sum = sum.toggling(page.withUnsafeBytes { Checksum.page(PageNumber(UInt32(i + 1)), $0) })
    }
    return sum
  }

  static func apply(_ file: DecodedFile, to state: inout [[UInt8]]) {
    let size = file.header.pageSize.bytes
    let commit = Int(file.header.commit)
    while state.count < commit { state.append([UInt8](repeating: 0xEE, count: size)) }
    state.removeLast(state.count - commit)
    for page in file.pages { state[Int(page.number.rawValue) - 1] = page.bytes }
  }

  /// One transaction: pages filled with one byte each.
  mutating func write(commit: Int, _ fills: [Int: UInt8]) throws {
    var pages: [Int: [UInt8]] = [:]
    for (number, fill) in fills { pages[number] = [UInt8](repeating: fill, count: pageSize) }
    try commitPages(commit, pages)
  }

  /// One random transaction: grows, shrinks, deletes or overwrites.
  mutating func transact(_ random: inout SeededRandom) throws {
    let before = states[states.count - 1].count
    var commit = before
    switch random.below(6) {
    case 0, 1: commit += random.below(4) + 1
    case 2: commit -= random.below(before + 1)
    case 3 where hasChecksums && before > 0 && random.below(2) == 0: commit = 0
    default: break
    }
    // Without checksums the format cannot delete, and a first file without pages says nothing.
    if commit == 0, before == 0 || !hasChecksums { commit = random.below(4) + 1 }
    var pages: [Int: [UInt8]] = [:]
    for number in stride(from: 1, through: commit, by: 1)
    where files.isEmpty || number > before || random.below(3) == 0 {
      pages[number] = page(&random)
    }
    try commitPages(commit, pages)
  }

  private func page(_ random: inout SeededRandom) -> [UInt8] {
    random.below(2) == 0
      ? random.bytes(pageSize)
      : [UInt8](repeating: UInt8(random.below(256)), count: pageSize)
  }

  private mutating func commitPages(_ commit: Int, _ pages: [Int: [UInt8]]) throws {
    let before = states[states.count - 1]
    var after = Array(before.prefix(commit))
    while after.count < commit { after.append([UInt8](repeating: 0, count: pageSize)) }
    for (number, page) in pages { after[number - 1] = page }
    let txid = TXID(UInt64(files.count + 1))
    let isChained = hasChecksums && !files.isEmpty
    let header = LTXHeader(
      flags: hasChecksums ? [] : .noChecksum,
      pageSize: try #require(PageSize(bytes: pageSize)),
      commit: UInt32(commit),
      minTXID: txid,
      maxTXID: txid,
      timestamp: Int64(files.count + 1),
      preApply: isChained ? Self.checksum(before) : .none,
      nodeID: 7
    )
    var encoder = try LTXEncoder(header: header, compression: .fast)
    for (number, page) in pages.sorted(by: { $0.key < $1.key }) {
      try page.withUnsafeBytes { _ = try encoder.append(PageNumber(UInt32(number)), $0) }
    }
    try encoder.finish(postApply: hasChecksums ? Self.checksum(after) : .none)
    files.append(encoder.takeOutput())
    states.append(after)
  }
}
