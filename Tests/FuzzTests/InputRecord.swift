import Foundation

/// The input that is being run, in a file that outlives the process: written through a mapping, so
/// that noting one costs no system call.
final class InputRecord {
  /// Longer inputs are cut; no target takes them.
  private static let capacity = 64 << 10

  let path: String
  private let memory: UnsafeMutableRawPointer
  private let descriptor: Int32

  init(_ name: String) throws {
    path =
      FileManager.default.temporaryDirectory
      .appendingPathComponent("halite-fuzz-\(name)-\(UUID().uuidString.prefix(8))").path
    descriptor = open(path, O_RDWR | O_CREAT, 0o600)
    guard descriptor >= 0, ftruncate(descriptor, Self.capacity) == 0,
      let memory = mmap(nil, Self.capacity, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      memory != MAP_FAILED
    else { throw FuzzFinding("\(path) cannot be mapped: \(errno)") }
    self.memory = memory
  }

  deinit {
    munmap(memory, Self.capacity)
    close(descriptor)
  }

  /// Length in eight bytes, then the input.
  func note(_ bytes: [UInt8]) {
    let count = min(bytes.count, Self.capacity - 8)
    memory.storeBytes(of: UInt64(count).bigEndian, as: UInt64.self)
    UnsafeMutableRawBufferPointer(start: memory + 8, count: count)
      .copyBytes(from: bytes.prefix(count))
  }

  /// Nothing was found.
  func discard() throws { try FileManager.default.removeItem(atPath: path) }
}
