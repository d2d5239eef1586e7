import LTX
import Testing

/// A plain file of revision 1 that says what it is told to, true or not, under a right checksum.
func plainFile(
  size: Int = 512,
  commit: UInt32,
  minTXID: UInt64 = 2,
  postApply: UInt64 = Checksum.flag | 1,
  pages: [(UInt32, [UInt8])]
) throws -> [UInt8] {
  let header = LTXHeader(
    pageSize: try #require(PageSize(bytes: size)),
    commit: commit,
    minTXID: TXID(minTXID),
    maxTXID: TXID(2),
    timestamp: 0,
    preApply: minTXID == 1 ? .none : .empty
  )
  var bytes: [UInt8] = []
  header.encode(into: &bytes)
  for (number, page) in pages { bytes += bigEndian(number) + page }
  return withFileChecksum(bytes + bigEndian(UInt32(0)) + bigEndian(postApply))
}

func withFileChecksum(_ bytes: [UInt8]) -> [UInt8] {
  bytes + bigEndian(bytes.withUnsafeBytes { Checksum.of($0) }.rawValue)
}

func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: number.bigEndian) { Array($0) }
}
