/// The flags of an LTX header.
package struct LTXFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The body is one LZ4 frame. Only revision 1 of the body has it; it is never written.
  package static let compressedBody = LTXFlags(rawValue: 1)
  /// No database checksums: PreApply and PostApply are zero. The file's own checksum stays.
  package static let noChecksum = LTXFlags(rawValue: 2)

  /// All flags that are known.
  static let all: LTXFlags = [.compressedBody, .noChecksum]
}
