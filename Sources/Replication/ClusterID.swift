/// Names a cluster, so that a node never takes the log of another one for its own.
package struct ClusterID: RawRepresentable, Hashable, Sendable {
  /// Bytes: long enough for a UUID or a name with a prefix.
  package static let maxLength = 64

  package let rawValue: String

  /// Nil unless the text is 1 to 64 ASCII letters, digits, dots, hyphens and underscores.
  package init?(rawValue: String) {
    let bytes = rawValue.utf8
    guard bytes.count >= 1, bytes.count <= Self.maxLength else { return nil }
    let isAllowed = bytes.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
        UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard isAllowed else { return nil }
    self.rawValue = rawValue
  }
}

extension ClusterID: CustomStringConvertible {
  package var description: String { rawValue }
}
