import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Bytes that the disk of a node loses.
extension Node {
  /// From its next start on it reads everything once a second, so that a test need not wait for a day.
  func scrubsEagerly() throws {
    let text = try String(contentsOfFile: configuration, encoding: .utf8)
    let eager = "/data, scrub-rate: 64MiB, scrub-interval: 1s}"
    try text.replacingOccurrences(of: "/data}", with: eager)
      .write(toFile: configuration, atomically: true, encoding: .utf8)
  }

  /// Changes a byte of page 31 as a disk does: the file does not look written to.
  func damage(_ name: String) throws {
    let path = data + "/files/" + name
    let descriptor = open(path, O_RDWR)
    guard descriptor >= 0 else { throw Failure("cannot open \(path)") }
    defer { close(descriptor) }
    var status = stat()
    fstat(descriptor, &status)
    var byte: UInt8 = 0
    guard pread(descriptor, &byte, 1, 30 * 4096 + 2000) == 1 else { throw Failure("too short") }
    byte ^= 1
    pwrite(descriptor, &byte, 1, 30 * 4096 + 2000)
    futimens(descriptor, [status.st_atim, status.st_mtim])
  }

  func metrics() async throws -> String {
    try await Command.run(
      ["curl", "-sf", "-m", "5", "http://127.0.0.1:\(http)/metrics"],
      seconds: 10
    ).output
  }

  func waitForDamage() async throws {
    try await Deadline.wait(seconds: 30, for: "\(name) to find the page; \(report)") {
      try await metrics().contains("halite_scrub_damaged_pages_total 1\n")
    }
  }
}
