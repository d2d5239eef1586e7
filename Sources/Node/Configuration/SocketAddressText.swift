#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// A host and a port as people write them: `:20202`, `node1:20203`, `[::1]:20203`.
package struct SocketAddressText: Sendable, Hashable {
  /// A name or an address without brackets; empty means every address of the machine.
  package let host: String
  package let port: Int

  package init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// Nil when the text is not `[HOST]:PORT` with a port from 0 to 65535.
  ///
  /// A bare host is accepted when there is a default port.
  package init?(_ text: String, defaultPort: Int? = nil) {
    var host = Substring(text)
    var port: Substring?
    if text.hasPrefix("[") {
      guard let bracket = text.firstIndex(of: "]") else { return nil }
      host = text[text.index(after: text.startIndex)..<bracket]
      let rest = text[text.index(after: bracket)...]
      if !rest.isEmpty {
        guard rest.hasPrefix(":") else { return nil }
        port = rest.dropFirst()
      }
      guard host.contains(":") else { return nil }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
      guard !host.contains(":") else { return nil }
    }
    guard host.utf8.allSatisfy(Self.isHostByte), host.utf8.count <= Self.maximumHostLength
    else { return nil }
    self.host = String(host)
    if let port {
      guard !port.isEmpty, port.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let number = Int(port), number <= 65_535
      else { return nil }
      self.port = number
    } else {
      guard let defaultPort, !host.isEmpty else { return nil }
      self.port = defaultPort
    }
  }

  /// The longest name DNS allows.
  private static let maximumHostLength = 253

  private static func isHostByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ":"),
      UInt8(ascii: "%"):
      true
    default: false
    }
  }

  /// Whether only this machine can reach the address.
  package var isLoopback: Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  /// What to hand to a socket for listening: without a host, every address, of IPv6 too where the
  /// kernel has it.
  package var bindHost: String {
    guard host.isEmpty else { return host }
    return access("/proc/net/if_inet6", F_OK) == 0 ? "::" : "0.0.0.0"
  }
}

extension SocketAddressText: CustomStringConvertible {
  package var description: String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}
