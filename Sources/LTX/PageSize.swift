/// The size of a database's pages: a power of two from 512 to 65,536 bytes.
package struct PageSize: Hashable, Sendable {
  /// Bytes.
  package let bytes: Int

  /// Nil unless `bytes` is a power of two in the range SQLite allows.
  package init?(bytes: Int) {
    guard bytes >= 512, bytes <= 65_536, bytes & (bytes - 1) == 0 else { return nil }
    self.bytes = bytes
  }

  /// The page that holds SQLite's lock bytes at 1 GiB. It is never written and in no LTX file.
  package var lockPage: PageNumber { PageNumber(UInt32(0x4000_0000 / bytes + 1)) }
}

extension PageSize: CustomStringConvertible {
  package var description: String { String(bytes) }
}
