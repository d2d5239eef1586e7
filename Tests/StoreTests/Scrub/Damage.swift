import Foundation

@testable import Store

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Changes bytes of a file as a disk does: the file does not look written to.
///
/// - Parameter quietly: false for a program that writes into the node's own files.
func flip(_ path: String, at offset: Int, quietly: Bool = true) throws {
  let descriptor = open(path, O_RDWR)
  guard descriptor >= 0 else { throw StoreError(.notFound, "cannot open \(path)") }
  defer { close(descriptor) }
  var status = stat()
  fstat(descriptor, &status)
  var byte: UInt8 = 0
  guard pread(descriptor, &byte, 1, off_t(offset)) == 1 else {
    throw StoreError(.notFound, "\(path) has no byte \(offset)")
  }
  byte ^= 0x40
  pwrite(descriptor, &byte, 1, off_t(offset))
  if quietly {
    let times = [status.st_atim, status.st_mtim]
    futimens(descriptor, times)
  }
}

extension Scrubber {
  /// Reads everything once more, to the end.
  func pass() throws {
    let before = progress.passes
    while progress.passes == before { _ = try step(maxBytes: 64 << 10) }
    try settle()
    try settle()
  }
}
