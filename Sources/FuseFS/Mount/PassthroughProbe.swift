internal import CFuse3
internal import Glibc

/// Tries passthrough for real: makes a file system that is mounted nowhere, shakes hands with the
/// kernel as a daemon would, and registers a file in memory.
enum PassthroughProbe {
  enum Outcome: Hashable, Sendable {
    case works
    /// The kernel is older than 6.9, or was built without it.
    case notOffered
    case failed(Int32)
  }

  /// Room for the kernel's first message; it demands at least as much.
  private static let bufferSize = 8192 + 4096
  /// Protocol 7.40 is the first with passthrough; the kernel settles on the lower of the two.
  private static let protocolMinor: UInt32 = 40

  static func run() -> Outcome {
    let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    guard device >= 0 else { return .failed(errno) }
    defer { close(device) }
    let context = halite_fsopen("fuse")
    guard context >= 0 else { return .failed(errno) }
    defer { close(context) }
    let options = [
      ("fd", "\(device)"), ("rootmode", "40000"), ("user_id", "\(geteuid())"),
      ("group_id", "\(getegid())"),
    ]
    for (name, value) in options where halite_fsconfig_set(context, name, value) != 0 {
      return .failed(errno)
    }
    guard halite_fsconfig_create(context) == 0 else { return .failed(errno) }
    return handshake(device)
  }

  private static func handshake(_ device: Int32) -> Outcome {
    var message = [UInt8](repeating: 0, count: bufferSize)
    let count = read(device, &message, message.count)
    let headerSize = MemoryLayout<halite_in_header>.size
    guard count >= headerSize + 5 * MemoryLayout<UInt32>.size else {
      return count < 0 ? .failed(errno) : .notOffered
    }
    let (unique, flags, flags2, readahead) = message.withUnsafeBytes { raw in
      (
        raw.loadUnaligned(as: halite_in_header.self).unique,
        raw.loadUnaligned(fromByteOffset: headerSize + 12, as: UInt32.self),
        raw.loadUnaligned(fromByteOffset: headerSize + 16, as: UInt32.self),
        raw.loadUnaligned(fromByteOffset: headerSize + 8, as: UInt32.self)
      )
    }
    guard flags & UInt32(HALITE_FUSE_INIT_EXT) != 0,
      flags2 & UInt32(HALITE_FUSE_PASSTHROUGH_FLAG2) != 0
    else { return .notOffered }
    var reply = halite_init_out()
    reply.major = 7
    reply.minor = protocolMinor
    reply.max_readahead = readahead
    reply.flags = UInt32(HALITE_FUSE_INIT_EXT)
    reply.flags2 = UInt32(HALITE_FUSE_PASSTHROUGH_FLAG2)
    reply.max_write = 4096
    reply.max_stack_depth = 1
    let header = halite_out_header(
      length: UInt32(MemoryLayout<halite_out_header>.size + MemoryLayout<halite_init_out>.size),
      error: 0,
      unique: unique
    )
    var bytes: [UInt8] = []
    withUnsafeBytes(of: header) { bytes += $0 }
    withUnsafeBytes(of: reply) { bytes += $0 }
    guard write(device, bytes, bytes.count) == bytes.count else { return .failed(errno) }
    let file = halite_memory_file("halite-probe")
    guard file >= 0 else { return .failed(errno) }
    defer { close(file) }
    let backing = BackingFiles(connection: device)
    do throws(SystemCallError) {
      backing.unregister(try backing.register(file))
      return .works
    } catch {
      return .failed(error.number)
    }
  }
}
