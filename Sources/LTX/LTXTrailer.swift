/// The last 16 bytes of an LTX file: the database's checksum after it, and the file's own.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | PostApplyChecksum: 0 without checksums, else bit 63 is set; that alone for no pages |
/// | 8 | 8 | FileChecksum, bit 63 is set |
///
/// The file's checksum covers the header; of each page its header and its bytes as they are
/// before compression; the terminator; the page index with its length; and PostApplyChecksum.
package struct LTXTrailer: Hashable, Sendable {
  /// Bytes of an encoded trailer.
  package static let size = 16

  package var postApply: Checksum
  package var file: Checksum

  package init(postApply: Checksum, file: Checksum) {
    self.postApply = postApply
    self.file = file
  }

  /// Reads a trailer; `validate(after:)` checks it.
  ///
  /// - Parameter bytes: at least 16; those after are not looked at.
  package init(decoding bytes: UnsafeRawBufferPointer) throws(LTXError) {
    guard bytes.count >= Self.size else {
      throw LTXError(
        .truncated,
        "the trailer has \(bytes.count) of \(Self.size) bytes; fetch the file again"
      )
    }
    postApply = Checksum(rawValue: bytes.bigEndian(UInt64.self, at: 0))
    file = Checksum(rawValue: bytes.bigEndian(UInt64.self, at: 8))
  }

  /// Appends the 16 bytes.
  package func encode(into bytes: inout [UInt8]) {
    bytes.appendBigEndian(postApply.rawValue)
    bytes.appendBigEndian(file.rawValue)
  }

  /// Checks the rules that bind the trailer to its header.
  package func validate(after header: LTXHeader) throws(LTXError) {
    try Self.validate(postApply: postApply, after: header)
    guard file.isFlagged else {
      throw LTXError(.corrupt, "file checksum \(file) lacks bit 63")
    }
  }

  static func validate(postApply: Checksum, after header: LTXHeader) throws(LTXError) {
    if !header.hasChecksums {
      guard postApply == .none else {
        throw LTXError(
          .corrupt,
          "post-apply checksum \(postApply) must be zero in a file without checksums"
        )
      }
    } else if header.commit == 0 {
      guard postApply == .empty else {
        throw LTXError(
          .corrupt,
          "post-apply checksum \(postApply) of a deleted database must be \(Checksum.empty)"
        )
      }
    } else {
      guard postApply.isFlagged else {
        throw LTXError(.corrupt, "post-apply checksum \(postApply) is missing or lacks bit 63")
      }
    }
  }
}
