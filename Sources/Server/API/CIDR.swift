#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// An IPv4 or IPv6 network as `10.1.0.0/16`; bits beyond the prefix may be set, as in Go's `net.ParseCIDR`.
package struct CIDR: Sendable, Equatable {
  private let bytes: [UInt8]
  private let prefix: Int

  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let bytes = Self.bytes(of: String(parts[0])),
      parts[1].allSatisfy(\.isASCII), !parts[1].hasPrefix("+"), !parts[1].hasPrefix("-"),
      let prefix = Int(parts[1]), (0...bytes.count * 8).contains(prefix)
    else { return nil }
    self.bytes = bytes
    self.prefix = prefix
  }

  package func contains(_ address: String) -> Bool {
    guard let other = Self.bytes(of: address), other.count == bytes.count else { return false }
    for index in bytes.indices {
      let bits = min(8, max(0, prefix - index * 8))
      guard bits > 0 else { return true }
      let mask = UInt8(truncatingIfNeeded: 0xff << (8 - bits))
      if bytes[index] & mask != other[index] & mask { return false }
    }
    return true
  }

  /// 4 or 16 bytes; nil for what is not an address. An IPv4 address within IPv6 counts as what it is.
  static func bytes(of address: String) -> [UInt8]? {
    for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: count)
      guard bytes.withUnsafeMutableBytes({ inet_pton(family, address, $0.baseAddress) }) == 1 else {
        continue
      }
      let isMapped =
        count == 16 && bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff
        && bytes[11] == 0xff
      return isMapped ? Array(bytes.suffix(4)) : bytes
    }
    return nil
  }
}
